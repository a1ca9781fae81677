"""Faults planted in records, each with the rule that is there for it: those of a review."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RECEIVED = "2026-11-22T08:00:00.000Z"
LOINC, UCUM, SNOMED = "http://loinc.org", "http://unitsofmeasure.org", "http://snomed.info/sct"
PATIENT = {"reference": "Patient/p1"}


@dataclass(frozen=True)
class PlantedFault:
    """Records of one person, of which the one with the key breaks the rule."""

    rule: str
    key: str
    records: list[dict[str, Any]]


def person(identifier: str = "p1", **changed: Any) -> dict[str, Any]:
    """Return a woman born in 1956."""
    return {
        "resourceType": "Patient",
        "id": identifier,
        "gender": "female",
        "birthDate": "1956-03-04",
        **changed,
    }


def encounter_of(identifier: str = "e1", **changed: Any) -> dict[str, Any]:
    """Return a stay of three days."""
    return {
        "resourceType": "Encounter",
        "id": identifier,
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": PATIENT,
        "period": {"start": "2026-03-01T09:00:00+08:00", "end": "2026-03-04T09:00:00+08:00"},
        **changed,
    }


def quantity(value: float, unit: str) -> dict[str, Any]:
    """Return a quantity with a unit of UCUM."""
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def observation(
    identifier: str, code: str, value: Mapping[str, Any] | None = None, **changed: Any
) -> dict[str, Any]:
    """Return a measurement of a day in the stay."""
    return {
        "resourceType": "Observation",
        "id": identifier,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": PATIENT,
        "effectiveDateTime": "2026-03-02T09:00:00+08:00",
        **({} if value is None else {"valueQuantity": dict(value)}),
        **changed,
    }


def component(code: str, value: float) -> dict[str, Any]:
    """Return one of the two blood pressures of a measurement."""
    return {
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "valueQuantity": quantity(value, "mm[Hg]"),
    }


def condition(identifier: str, system: str, code: str, **changed: Any) -> dict[str, Any]:
    """Return a diagnosis."""
    return {
        "resourceType": "Condition",
        "id": identifier,
        "code": {"coding": [{"system": system, "code": code}]},
        "subject": PATIENT,
        "onsetDateTime": "2026-03-01",
        **changed,
    }


def prescription(identifier: str, dose: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """Return a prescription of one dose."""
    return {
        "resourceType": "MedicationRequest",
        "id": identifier,
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": "paracetamol"},
        "subject": PATIENT,
        "authoredOn": "2026-03-01",
        "dosageInstruction": [{"doseAndRate": [{"doseQuantity": dict(dose)}]}],
        **changed,
    }


def _one(rule: str, record: dict[str, Any], *others: dict[str, Any]) -> PlantedFault:
    beside = others or (person(),)
    return PlantedFault(rule, f"{record['resourceType']}/{record['id']}", [record, *beside])


PLANTED: Mapping[str, PlantedFault] = {
    "heart rate of 1800": _one(
        "value-plausible", observation("o", "8867-4", quantity(1800, "/min"))
    ),
    "weight of 15,000 kg": _one(
        "value-plausible", observation("o", "29463-7", quantity(15000, "kg"))
    ),
    "Fahrenheit coded as Celsius": _one(
        "value-plausible", observation("o", "8310-5", quantity(98.6, "Cel"))
    ),
    "before birth": _one(
        "not-before-birth", observation("o", "8867-4", effectiveDateTime="1950-01-01")
    ),
    "a patient who is not there": _one(
        "patient-exists", observation("o", "8867-4"), encounter_of()
    ),
    "the same person twice": _one(
        "no-duplicate-person", person("p2"), person("p1")
    ),
    "pregnancy in a man": _one(
        "fits-sex", condition("c", SNOMED, "77386006"), person(gender="male")
    ),
    "the same observation twice": _one(
        "no-duplicate",
        observation("o2", "8867-4", quantity(72, "/min")),
        person(),
        observation("o1", "8867-4", quantity(72, "/min")),
    ),
    "after death": _one(
        "not-after-death",
        observation("o", "8867-4", quantity(72, "/min")),
        person(deceasedDateTime="2020-01-01"),
    ),
    "a stay of 120 years": _one(
        "stay-of-plausible-length",
        encounter_of(period={"start": "1900-01-01", "end": "2020-01-01"}),
    ),
    "systolic below diastolic": _one(
        "systolic-over-diastolic",
        observation("o", "85354-9", component=[component("8480-6", 80), component("8462-4", 120)]),
    ),
    "a dose of 5,000 g": _one("dose-plausible", prescription("m", quantity(5000, "g"))),
    "month 13": _one("dates-exist", observation("o", "8867-4", effectiveDateTime="2026-13-01")),
    "no status": _one(
        "required-elements-present",
        {key: value for key, value in observation("o", "8867-4").items() if key != "status"},
    ),
    "no code": _one(
        "required-elements-present",
        {key: value for key, value in observation("o", "8867-4").items() if key != "code"},
    ),
    "a stay that ends before it begins": _one(
        "period-in-order", encounter_of(period={"start": "2026-03-04", "end": "2026-03-01"})
    ),
    "a procedure that ends before it begins": _one(
        "period-in-order",
        {"resourceType": "Procedure", "id": "r", "status": "completed", "subject": PATIENT,
         "performedPeriod": {"start": "2026-03-04", "end": "2026-03-01"}},
    ),
    "a measurement of next year": _one(
        "not-after-receipt", observation("o", "8867-4", effectiveDateTime="2027-11-22")
    ),
    "born in 1800": _one("birth-date-plausible", person(birthDate="1800-01-01"), encounter_of()),
    "dead before birth": _one(
        "times-in-order", person(deceasedDateTime="1950-01-01"), encounter_of()
    ),
    "a sex that is no code": _one("codes-are-fhirs", person(gender="F"), encounter_of()),
    "no medicine": _one(
        "required-elements-present",
        {
            key: value
            for key, value in prescription("m", quantity(1, "g")).items()
            if key != "medicationCodeableConcept"
        },
    ),
    "a number without end": _one(
        "numbers-are-finite", observation("o", "9999-9", quantity(1e30, "g"))
    ),
}  # fmt: skip
