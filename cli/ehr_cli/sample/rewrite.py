"""Rewrite one Synthea record for Hong Kong: references, displays, texts, codes that are American.

Only what names a person, a place or an American register changes. Codes, values and dates stay.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from ehr_cli.sample import synthea_source
from ehr_cli.sample.hong_kong import SYSTEM, Name, invent_address, invent_name, read_setting
from ehr_cli.sample.placement import Placement, location_id

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, SYSTEM)
# Questions of the American survey PRAPARE that make no sense here: race, ethnicity, insurance.
DROPPED_QUESTIONS = frozenset({"32624-9", "56051-6", "76437-3"})
ADDRESS_QUESTION = "56799-0"
RACE = re.compile(r" (?:non)?hispanic (?:white|black|asian|native|hawaiian|other)\b")
INSURANCE = re.compile(r"Patient currently has [^\n]+\.\n")
CONDITIONAL_REFERENCE = re.compile(r"(Organization|Location|Practitioner)\?identifier=[^|]+\|(.+)")
PAYER = "Self-paid"


class Rewriter:
    """Rewrites records; collects which practitioners wrote at which organisation."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.patients = {
            patient["id"]: invent_name(patient["id"], patient["gender"])
            for patient in synthea_source.read_resources("Patient")
        }
        self.practitioners_at: dict[tuple[str, str], None] = {}
        self._synthea_names = _name_pattern(synthea_source.read_resources("Patient"))

    def rewrite(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Return a patient's record as the Hong Kong organisation wrote it."""
        patient = synthea_source.patient_of(resource)
        organization_id = self.placement.organization_of(resource)
        context = _Context(organization_id, self.placement.site_of(resource), patient)
        rewritten: dict[str, Any] = self._rewrite_value(resource, context)
        match resource["resourceType"]:
            case "Observation" if "component" in rewritten:
                rewritten["component"] = _rewrite_components(rewritten["component"], patient)
            case "Claim" | "ExplanationOfBenefit":
                _replace_payer(rewritten)
            case "CarePlan":
                for activity in rewritten.get("activity", []):
                    activity["detail"]["location"] = self._location(context)
        return with_source(rewritten, organization_id)

    def split_provenance(self, resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Split a patient's one Provenance by the organisation that wrote the targets.

        One Provenance naming everything would tell each organisation of the others' records.
        """
        patient = synthea_source.patient_of(resource)
        targets: dict[str, list[dict[str, Any]]] = {}
        for target in resource["target"]:
            # A Medication is nobody's record; it goes with the main organisation.
            organization_id = self.placement.organization.get(
                target["reference"], self.placement.main[patient]
            )
            targets.setdefault(organization_id, []).append(target)
        for organization_id, part in sorted(targets.items()):
            context = _Context(organization_id, location_id(organization_id, "outpatient"), patient)
            resource_id = str(uuid.uuid5(NAMESPACE, f"{resource['id']}|{organization_id}"))
            rewritten = self._rewrite_value(
                {**resource, "id": resource_id, "target": part}, context
            )
            yield with_source(rewritten, organization_id)

    def _rewrite_value(self, value: Any, context: _Context) -> Any:
        # JSON of every shape passes through here, hence Any.
        if isinstance(value, list):
            return [self._rewrite_value(item, context) for item in value]
        if not isinstance(value, dict):
            return value
        if "reference" in value:
            return self._reference(value, context)
        if value.get("contentType", "").startswith("text/plain") and "data" in value:
            return {**value, "data": self._note(value["data"], context)}
        return {key: self._rewrite_value(item, context) for key, item in value.items()}

    def _reference(self, value: dict[str, Any], context: _Context) -> dict[str, Any]:
        reference = value["reference"]
        if match := CONDITIONAL_REFERENCE.fullmatch(reference):
            if match[1] == "Practitioner":
                return self._practitioner(match[2], context)
            return (
                self._location(context) if match[1] == "Location" else self._organization(context)
            )
        if reference.startswith("Patient/") and "display" in value:
            return {**value, "display": self.patients[reference.partition("/")[2]].text}
        return dict(value)

    def _practitioner(self, npi: str, context: _Context) -> dict[str, Any]:
        self.practitioners_at[npi, context.organization] = None
        resource_id = practitioner_id(npi, context.organization)
        name = practitioner_name(npi, context.organization)
        return {"reference": f"Practitioner/{resource_id}", "display": f"Dr {name.both}"}

    def _organization(self, context: _Context) -> dict[str, Any]:
        name = organization_row(context.organization)["name"]
        return {"reference": f"Organization/{context.organization}", "display": name}

    def _location(self, context: _Context) -> dict[str, Any]:
        return {
            "reference": f"Location/{context.site}",
            "display": organization_row(context.organization)["name"],
        }

    def _note(self, data: str, context: _Context) -> str:
        # Besides displays, notes are the only place where Synthea writes a name; a test guards it.
        text = INSURANCE.sub("", RACE.sub("", base64.b64decode(data).decode()))
        text = self._synthea_names.sub(self.patients[context.patient].text, text)
        return base64.b64encode(text.encode()).decode()


@dataclass(frozen=True)
class _Context:
    organization: str
    site: str
    patient: str


def with_source(resource: dict[str, Any], organization_id: str) -> dict[str, Any]:
    """Mark the organisation that wrote a resource, in meta.source."""
    meta = {**resource.get("meta", {}), "source": f"{SYSTEM}/organization/{organization_id}"}
    head = {"resourceType": resource["resourceType"], "id": resource["id"], "meta": meta}
    return {**head, **{k: v for k, v in resource.items() if k not in head}}


def organization_row(organization_id: str) -> dict[str, Any]:
    """Return an organisation's row of hong_kong.toml."""
    return next(row for row in read_setting()["organization"] if row["id"] == organization_id)


@cache
def practitioner_id(npi: str, organization_id: str) -> str:
    """Return the id of a Synthea practitioner as a member of staff here."""
    return str(uuid.uuid5(NAMESPACE, f"{npi}|{organization_id}"))


@cache
def practitioner_name(npi: str, organization_id: str) -> Name:
    """Invent a practitioner's name."""
    gender = "female" if int(practitioner_id(npi, organization_id)[0], 16) % 2 else "male"
    return invent_name(f"{npi}|{organization_id}", gender)


def _replace_payer(claim: dict[str, Any]) -> None:
    # American insurers have no place here.
    payer = {"display": PAYER}
    for insurance in claim["insurance"]:
        insurance["coverage"].update(payer)
    if "insurer" in claim:
        claim["insurer"] = payer
    for contained in claim.get("contained", []):
        if contained["resourceType"] == "Coverage":
            contained.update(type={"text": PAYER}, payor=[payer])


def _rewrite_components(components: list[dict[str, Any]], patient: str) -> list[dict[str, Any]]:
    kept_components = []
    for component in components:
        code = component["code"]["coding"][0]["code"]
        if code == ADDRESS_QUESTION:
            component = {**component, "valueString": ", ".join(invent_address(patient)["line"])}
        if code not in DROPPED_QUESTIONS:
            kept_components.append(component)
    return kept_components


def _name_pattern(patients: Iterable[dict[str, Any]]) -> re.Pattern[str]:
    # Synthea marks each name with a number ("Isa815"), so a name never hides in a common word.
    words = {
        word
        for patient in patients
        for name in patient["name"]
        for word in (name["family"], *name["given"])
    }
    word = "(?:" + "|".join(sorted(map(re.escape, words), key=len, reverse=True)) + ")"
    return re.compile(rf"(?:(?:Mrs?|Ms)\. )?{word}(?: {word})*(?: (?:MD|PhD|JD))?")
