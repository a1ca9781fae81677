"""One line of a record: what it is, when, in what state, who wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.display import Text, amount, author_id, concept, tidy

STATES = {
    "active": N_("Active"),
    "inactive": N_("No longer active"),
    "resolved": N_("Resolved"),
    "remission": N_("In remission"),
    "recurrence": N_("Came back"),
    "relapse": N_("Came back"),
    "completed": N_("Finished"),
    "finished": N_("Finished"),
    "stopped": N_("Stopped"),
    "cancelled": N_("Cancelled"),
    "on-hold": N_("On hold"),
    "in-progress": N_("Going on"),
    "planned": N_("Planned"),
    "entered-in-error": N_("Entered by mistake"),
    "not-done": N_("Not done"),
    "final": N_("Final"),
    "preliminary": N_("Preliminary"),
    "amended": N_("Amended"),
    "corrected": N_("Corrected"),
    "current": N_("Current"),
    "superseded": N_("Replaced by a newer one"),
}
# States that say "now" get a tag; the usual end state of a kind says nothing new.
CURRENT = frozenset({"active", "recurrence", "relapse", "in-progress", "on-hold", "planned"})

CLASSES = {
    "AMB": N_("Outpatient visit"),
    "EMER": N_("Accident and emergency"),
    "IMP": N_("Hospital stay"),
    "ACUTE": N_("Hospital stay"),
    "HH": N_("Home visit"),
    "VR": N_("Telephone or video"),
    "OBSENC": N_("Observation in hospital"),
    "SS": N_("Short stay"),
}
RISK = {"low": N_("Low risk"), "high": N_("High risk"), "unable-to-assess": N_("Risk not known")}

_DATES = (
    "effectiveDateTime",
    "occurrenceDateTime",
    "performedDateTime",
    "onsetDateTime",
    "authoredOn",
    "recordedDate",
    "date",
    "issued",
    "dateTime",
)
_PERIODS = ("period", "performedPeriod", "effectivePeriod", "onsetPeriod", "occurrencePeriod")


@dataclass(frozen=True)
class Entry:
    """One record as a line of a list."""

    type: str
    id: str
    title: Text
    detail: Text | None
    state: str
    kind: str
    when: str
    until: str
    author: str | None

    # Of what holds now, illnesses stand before circumstances such as work or housing.
    weighty: bool

    @property
    def current(self) -> bool:
        """Return whether this holds now."""
        return self.state in CURRENT


def entry(resource: Resource, included: Mapping[str, Resource], language: str) -> Entry:
    """Return a resource as a line."""
    start, end = when(resource)
    return Entry(
        type=resource["resourceType"],
        id=resource["id"],
        title=title(resource, included, language),
        detail=_detail(resource, language),
        state=state(resource),
        kind=_kind(resource),
        when=start,
        until=end,
        author=author_id(resource),
        weighty=not _circumstance(resource),
    )


def title(resource: Resource, included: Mapping[str, Resource], language: str) -> Text:
    """Return what a record is about."""
    if resource["resourceType"] == "MedicationRequest":
        reference = resource.get("medicationReference", {})
        medication = included.get(reference.get("reference", ""), {})
        named = resource.get("medicationCodeableConcept") or medication.get("code")
        return concept(named or {"text": reference.get("display", "")}, language)
    if resource["resourceType"] == "Encounter":
        return concept(next(iter(resource.get("type", ())), {}), language)
    if resource["resourceType"] == "DocumentReference":
        return concept(resource.get("type"), language)
    return concept(resource.get("code") or resource.get("vaccineCode"), language)


def when(resource: Resource) -> tuple[str, str]:
    """Return when a record's matter happened: start, and end if it is a period."""
    for path in _PERIODS:
        if path in resource:
            return resource[path].get("start", ""), resource[path].get("end", "")
    start = next((resource[path] for path in _DATES if path in resource), "")
    return start, resource.get("abatementDateTime", "")


def state(resource: Resource) -> str:
    """Return a record's clinical state, else its status."""
    coded = resource.get("clinicalStatus", {}).get("coding", ())
    return str(coded[0].get("code", "") if coded else resource.get("status", ""))


def observed(resource: Resource, language: str) -> Text:
    """Return what an Observation found."""
    if "valueQuantity" in resource:
        return Text(amount(resource["valueQuantity"]), language)
    if "valueCodeableConcept" in resource:
        return concept(resource["valueCodeableConcept"], language)
    for path in ("valueString", "valueInteger", "valueDateTime"):
        if path in resource:
            return Text(str(resource[path]), "en")
    parts = [part for part in resource.get("component", ()) if "valueQuantity" in part]
    codes = {c.get("code") for c in resource.get("code", {}).get("coding", ())}
    if "85354-9" in codes and len(parts) >= 2:
        return Text(_pressure(parts), language)
    return Text("", language)


def _pressure(parts: list[Resource]) -> str:
    # 120/80 is how a blood pressure is read; LOINC 8480-6 is the upper, 8462-4 the lower.
    by_code = {
        coding["code"]: part["valueQuantity"]["value"]
        for part in parts
        for coding in part["code"].get("coding", ())
    }
    upper, lower = by_code.get("8480-6"), by_code.get("8462-4")
    return f"{upper:.0f}/{lower:.0f}\u00a0mmHg" if upper is not None and lower is not None else ""


def _circumstance(resource: Resource) -> bool:
    codings = resource.get("code", {}).get("coding", ())
    return any(str(c.get("display", "")).endswith(("(finding)", "(situation)")) for c in codings)


def _kind(resource: Resource) -> str:
    if resource["resourceType"] == "Encounter":
        return CLASSES.get(resource.get("class", {}).get("code", ""), "")
    if resource["resourceType"] == "AllergyIntolerance":
        return RISK.get(resource.get("criticality", ""), "")
    return ""


def _detail(resource: Resource, language: str) -> Text | None:
    kind = resource["resourceType"]
    found: Text | None = None
    if kind == "Observation":
        found = observed(resource, language)
    elif kind == "AllergyIntolerance":
        signs = [s for r in resource.get("reaction", ()) for s in r.get("manifestation", ())]
        found = _joined([concept(sign, language) for sign in signs])
    elif kind == "MedicationRequest":
        lines = [tidy(line.get("text", "")) for line in resource.get("dosageInstruction", ())]
        found = Text("; ".join(line for line in lines if line), "en")
    elif kind in ("Encounter", "Procedure"):
        reasons = resource.get("reasonCode", ())
        found = _joined([concept(reason, language) for reason in reasons])
    return found if found and found.text else None


def _joined(texts: list[Text]) -> Text | None:
    texts = list(dict.fromkeys(texts))
    # One mark of language for the whole line: the record's own if any part is in it.
    foreign = next((t.lang for t in texts if t.lang == "en"), texts[0].lang if texts else "en")
    return Text(", ".join(t.text for t in texts), foreign) if texts else None
