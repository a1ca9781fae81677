"""One record as a row of a list: what it is, when, in what state, who wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.display import Text, concept_text, quantity_text, strip_semantic_tag
from ehr_portal.record.providers import author_organization

# Clinical statuses, and statuses of the resource where it has no clinical one.
STATUS_TITLES = {
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
# A status that says "now" gets a tag; the usual end state of a resource type says nothing new.
CURRENT_STATUSES = frozenset(
    {"active", "recurrence", "relapse", "in-progress", "on-hold", "planned"}
)

# HL7 v3 ActCode, as Encounter.class has it.
ENCOUNTER_CLASS_TITLES = {
    "AMB": N_("Outpatient visit"),
    "EMER": N_("Accident and emergency"),
    "IMP": N_("Hospital stay"),
    "ACUTE": N_("Hospital stay"),
    "HH": N_("Home visit"),
    "VR": N_("Telephone or video"),
    "OBSENC": N_("Observation in hospital"),
    "SS": N_("Short stay"),
}
# AllergyIntolerance.criticality.
CRITICALITY_TITLES = {
    "low": N_("Low risk"),
    "high": N_("High risk"),
    "unable-to-assess": N_("Risk not known"),
}

# LOINC: a blood pressure and its two components.
BLOOD_PRESSURE = "85354-9"
SYSTOLIC = "8480-6"
DIASTOLIC = "8462-4"

# Elements with a date, the clinically meaningful ones before those of the paperwork.
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
class RecordRow:
    """One record as a row of a list."""

    resource_type: str
    id: str
    title: Text
    detail: Text | None
    status: str
    # The class of a visit or the criticality of an allergy, still to translate.
    category: str
    # FHIR dates of any precision; empty where there is none.
    start: str
    end: str
    author: str | None
    # Of what holds now, illnesses stand before circumstances such as work or housing.
    is_clinical: bool

    @property
    def is_current(self) -> bool:
        """Return whether this holds now."""
        return self.status in CURRENT_STATUSES


def build_row(resource: Resource, included: Mapping[str, Resource], language: str) -> RecordRow:
    """Return a resource as a row; `included` has the Medications that prescriptions refer to."""
    start, end = event_period(resource)
    return RecordRow(
        resource_type=resource["resourceType"],
        id=resource["id"],
        title=row_title(resource, included, language),
        detail=_row_detail(resource, language),
        status=status_code(resource),
        category=_row_category(resource),
        start=start,
        end=end,
        author=author_organization(resource),
        is_clinical=not _is_social_circumstance(resource),
    )


def row_title(resource: Resource, included: Mapping[str, Resource], language: str) -> Text:
    """Return what a record is about."""
    if resource["resourceType"] == "MedicationRequest":
        reference = resource.get("medicationReference", {})
        medication = included.get(reference.get("reference", ""), {})
        concept = resource.get("medicationCodeableConcept") or medication.get("code")
        return concept_text(concept or {"text": reference.get("display", "")}, language)
    if resource["resourceType"] == "Encounter":
        return concept_text(next(iter(resource.get("type", ())), {}), language)
    if resource["resourceType"] == "DocumentReference":
        return concept_text(resource.get("type"), language)
    return concept_text(resource.get("code") or resource.get("vaccineCode"), language)


def event_period(resource: Resource) -> tuple[str, str]:
    """Return the start and end of what a record describes; empty where it does not say.

    >>> event_period({"onsetDateTime": "2019", "abatementDateTime": "2021-03"})
    ('2019', '2021-03')
    """
    for path in _PERIODS:
        if path in resource:
            return resource[path].get("start", ""), resource[path].get("end", "")
    start = next((resource[path] for path in _DATES if path in resource), "")
    return start, resource.get("abatementDateTime", "")


def status_code(resource: Resource) -> str:
    """Return a record's clinical status, else the status of the resource."""
    codings = resource.get("clinicalStatus", {}).get("coding", ())
    return str(codings[0].get("code", "") if codings else resource.get("status", ""))


def observation_value(resource: Resource, language: str) -> Text:
    """Return the value of an Observation; of a blood pressure both components."""
    if "valueQuantity" in resource:
        return Text(quantity_text(resource["valueQuantity"]), language)
    if "valueCodeableConcept" in resource:
        return concept_text(resource["valueCodeableConcept"], language)
    for path in ("valueString", "valueInteger", "valueDateTime"):
        if path in resource:
            return Text(str(resource[path]), "en")
    components = [part for part in resource.get("component", ()) if "valueQuantity" in part]
    codes = {coding.get("code") for coding in resource.get("code", {}).get("coding", ())}
    if BLOOD_PRESSURE in codes and len(components) >= 2:
        return Text(_blood_pressure(components), language)
    return Text("", language)


def _blood_pressure(components: list[Resource]) -> str:
    # 120/80 is how a blood pressure is read, in whichever order its components come.
    value_by_code = {
        coding["code"]: component["valueQuantity"]["value"]
        for component in components
        for coding in component["code"].get("coding", ())
    }
    systolic, diastolic = value_by_code.get(SYSTOLIC), value_by_code.get(DIASTOLIC)
    if systolic is None or diastolic is None:
        return ""
    return f"{systolic:.0f}/{diastolic:.0f}\u00a0mmHg"


def _is_social_circumstance(resource: Resource) -> bool:
    # By SNOMED CT's semantic tag: a finding or a situation is no disorder.
    codings = resource.get("code", {}).get("coding", ())
    return any(
        str(coding.get("display", "")).endswith(("(finding)", "(situation)")) for coding in codings
    )


def _row_category(resource: Resource) -> str:
    if resource["resourceType"] == "Encounter":
        return ENCOUNTER_CLASS_TITLES.get(resource.get("class", {}).get("code", ""), "")
    if resource["resourceType"] == "AllergyIntolerance":
        return CRITICALITY_TITLES.get(resource.get("criticality", ""), "")
    return ""


def _row_detail(resource: Resource, language: str) -> Text | None:
    detail: Text | None = None
    match resource["resourceType"]:
        case "Observation":
            detail = observation_value(resource, language)
        case "AllergyIntolerance":
            reactions = resource.get("reaction", ())
            signs = [sign for reaction in reactions for sign in reaction.get("manifestation", ())]
            detail = _comma_separated([concept_text(sign, language) for sign in signs])
        case "MedicationRequest":
            dosages = resource.get("dosageInstruction", ())
            lines = [strip_semantic_tag(dosage.get("text", "")) for dosage in dosages]
            detail = Text("; ".join(line for line in lines if line), "en")
        case "Encounter" | "Procedure":
            reasons = resource.get("reasonCode", ())
            detail = _comma_separated([concept_text(reason, language) for reason in reasons])
    return detail if detail and detail.text else None


def _comma_separated(texts: list[Text]) -> Text | None:
    texts = list(dict.fromkeys(texts))
    if not texts:
        return None
    # One mark of language for the whole line: the record's own if any part is in it.
    lang = next((text.lang for text in texts if text.lang == "en"), texts[0].lang)
    return Text(", ".join(text.text for text in texts), lang)
