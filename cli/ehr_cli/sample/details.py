"""Fill in what Synthea leaves out of a record: dosage, reference ranges, severity, categories.

Everything follows from the record and details.toml, so the same record is filled in the same way.
What Synthea wrote stays: an element that is there is not changed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

Resource = dict[str, Any]

TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
ROUTE = f"{TERMINOLOGY}/v3-RouteOfAdministration"
INTERPRETATION = f"{TERMINOLOGY}/v3-ObservationInterpretation"
INTERPRETATION_DISPLAY = {
    "N": "Normal",
    "L": "Low",
    "H": "High",
    "LL": "Critical low",
    "HH": "Critical high",
}
UCUM = "http://unitsofmeasure.org"
SOCIAL = {
    "coding": [
        {
            "system": "http://hl7.org/fhir/us/core/CodeSystem/us-core-category",
            "code": "sdoh",
            "display": "SDOH",
        }
    ]
}
# SNOMED CT, as Synthea has it on reactions.
ANAPHYLAXIS = "39579001"
# The ranges of details.toml are an adult's.
ADULT_YEARS = 18


@cache
def read_details() -> dict[str, Any]:
    """Read details.toml."""
    text = resources.files(__package__).joinpath("details.toml").read_text("utf-8")
    return tomllib.loads(text)


def fill_in_details(
    resource: Resource, birth_date: str, medicine_by_reference: Mapping[str, str]
) -> Resource:
    """Return a record with what Synthea left out.

    `medicine_by_reference` has the name of each Medication that an order may refer to.
    """
    match resource["resourceType"]:
        case "MedicationRequest":
            return _fill_order(resource, medicine_by_reference)
        case "Observation" if "valueQuantity" in resource:
            return _fill_result(resource, birth_date)
        case "AllergyIntolerance":
            return _fill_allergy(resource)
        case "Condition":
            return _fill_condition(resource)
    return resource


def reference_range(code: str, unit: str) -> Resource | None:
    """Return the reference range of an adult's result, None where details.toml has none."""
    row = read_details()["range"].get(code)
    if not row or row[0] != unit:
        return None
    limits = zip(("low", "high"), row[1:3], strict=True)
    return {end: quantity(limit, unit, unit) for end, limit in limits if limit != ""}


def interpretation(code: str, value: float) -> str:
    """Return how a value lies to its range: N, L, H, LL or HH of HL7 v3.

    >>> interpretation("2823-3", 7.2), interpretation("2823-3", 3.4), interpretation("2823-3", 4)
    ('HH', 'L', 'N')
    """
    _, low, high, critical_low, critical_high = read_details()["range"][code]
    if critical_high != "" and value >= critical_high:
        return "HH"
    if critical_low != "" and value <= critical_low:
        return "LL"
    if high != "" and value > high:
        return "H"
    return "L" if low != "" and value < low else "N"


def interpretation_concept(flag: str) -> Resource:
    """Return an interpretation as a CodeableConcept."""
    display = INTERPRETATION_DISPLAY[flag]
    return {"coding": [{"system": INTERPRETATION, "code": flag, "display": display}]}


def quantity(value: float, unit: str, code: str) -> Resource:
    """Return a Quantity of UCUM."""
    return {"value": value, "unit": unit, "system": UCUM, "code": code}


def _fill_order(order: Resource, medicine_by_reference: Mapping[str, str]) -> Resource:
    concept = order.get("medicationCodeableConcept")
    name = (
        concept["text"]
        if concept
        else medicine_by_reference[order["medicationReference"]["reference"]]
    )
    form = _first_match(read_details()["form"], name)
    purpose = _first_match(read_details()["purpose"], name)
    dosages = order.get("dosageInstruction") or [{"sequence": 1}]
    filled = {**order, "dosageInstruction": [_fill_dosage(d, form, purpose) for d in dosages]}
    if purpose and not {"reasonCode", "reasonReference"} & set(order):
        filled["reasonCode"] = [{"text": purpose["text"].capitalize()}]
    return filled


def _fill_dosage(dosage: Resource, form: Resource | None, purpose: Resource | None) -> Resource:
    if form is None:
        return dosage
    filled = dict(dosage)
    unit, code = form["unit"]
    per_day = {"value": 1, "unit": "d", "system": UCUM, "code": "d"}
    if dosage.get("asNeededBoolean") or not (dosage.get("timing") or form.get("repeat")):
        filled["asNeededBoolean"] = True
        if purpose:
            del filled["asNeededBoolean"]
            filled["asNeededCodeableConcept"] = {"text": purpose["text"]}
        filled["maxDosePerPeriod"] = {
            "numerator": quantity(form["most"], unit, code),
            "denominator": per_day,
        }
    elif "timing" not in dosage:
        filled["timing"] = {"repeat": dict(form["repeat"])}
    route_code, route = form["route"]
    coding = {"coding": [{"system": ROUTE, "code": route_code, "display": route}]}
    filled.setdefault("route", coding if route_code else {"text": route})
    written = (dosage.get("doseAndRate") or [{}])[0]
    # Synthea's doses are bare numbers: tablets, puffs.
    value = written.get("doseQuantity", {}).get("value", form["dose"])
    filled["doseAndRate"] = [{**written, "doseQuantity": quantity(value, unit, code)}]
    return filled


def _fill_result(observation: Resource, birth_date: str) -> Resource:
    code = observation["code"]["coding"][0]["code"]
    value = observation["valueQuantity"]
    limits = reference_range(code, value.get("unit", ""))
    if limits is None or not _is_adult(birth_date, observation.get("effectiveDateTime", "")):
        return observation
    flag = interpretation_concept(interpretation(code, value["value"]))
    return {**observation, "interpretation": [flag], "referenceRange": [limits]}


def _is_adult(birth_date: str, at: str) -> bool:
    if not at:
        return False
    born = date.fromisoformat(birth_date)
    day = date.fromisoformat(at[:10])
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day)) >= ADULT_YEARS


def _fill_allergy(allergy: Resource) -> Resource:
    """Mark each anaphylaxis as severe, which it is by definition."""
    if "reaction" not in allergy:
        return allergy
    reactions = [
        {"severity": "severe", **reaction} if _is_anaphylaxis(reaction) else reaction
        for reaction in allergy["reaction"]
    ]
    return {**allergy, "reaction": reactions}


def _is_anaphylaxis(reaction: Resource) -> bool:
    codings = [c for sign in reaction["manifestation"] for c in sign.get("coding", ())]
    return any(coding["code"] == ANAPHYLAXIS for coding in codings)


def _fill_condition(condition: Resource) -> Resource:
    if condition["code"]["coding"][0]["code"] not in read_details()["social"]["codes"]:
        return condition
    return {**condition, "category": [*condition["category"], SOCIAL]}


def _first_match(rows: list[Resource], name: str) -> Resource | None:
    return next((row for row in rows if re.search(row["pattern"], name)), None)
