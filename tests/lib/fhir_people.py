"""People who do not exist, as FHIR resources: what a model's frame reads, whole and awkward."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from ehr_etl.sql_on_fhir.duckdb_run import run_view
from ehr_models.frames.declaration import FrameDeclaration, find_exact_view

Resource = dict[str, Any]

ICD, ATC = "http://hl7.org/fhir/sid/icd-10", "http://www.whocc.no/atc"
_FIRST = datetime(2023, 1, 1, tzinfo=UTC)
_DAYS = 900
_DIAGNOSES = ("I50.0", "I50.9", "E11.9", "J44.1", "N18.3")
_MEDICINES = ("C03CA01", "C03CB02", "A10BA02", "R03AC02")
# Usual values with their units, and what is wrong: a slip of the comma, a unit of another kind.
_TESTS = {
    "2951-2": ((138.0, "mmol/L"), (1380.0, "mmol/L"), (140.0, "g")),
    "718-7": ((13.5, "g/dL"), (128.0, "g/L"), (12.5, None)),
    "2160-0": ((0.9, "mg/dL"), (1.1, "mg/dL"), (900.0, "mg/dL")),
}
_PROCEDURES = ("ECHO", "CT")


def draw_person(number: int, seed: int = 1, records: int = 0) -> list[Resource]:
    """Return the resources of one person, always the same for a number and a seed.

    At least so many `records` beside encounters.
    """
    chance = random.Random(f"{seed}/{number}")
    person = f"person-{number}"
    resources: list[Resource] = [
        {
            "resourceType": "Patient",
            "id": person,
            "gender": chance.choice(("female", "male", "other")),
            "birthDate": f"{chance.randint(1925, 2010)}-05-01",
            "address": [{"country": "HK", "state": chance.choice(("Kowloon", "New Territories"))}],
        }
    ]
    for place in range(chance.randint(1, 9)):
        start = _FIRST + timedelta(minutes=chance.randrange(_DAYS * 24 * 60))
        resources.append(draw_encounter(chance, f"{person}-e{place}", person, start))
    for place in range(chance.randint(0, 30) + records):
        when = _FIRST + timedelta(minutes=chance.randrange(_DAYS * 24 * 60))
        resources.append(draw_record(chance, f"{person}-r{place}", person, when))
    return resources


def draw_encounter(chance: random.Random, key: str, person: str, start: datetime) -> Resource:
    """Return an encounter: some go on, some did not take place, some have no times."""
    end = start + timedelta(hours=chance.choice((1, 5, 30, 100, 200)))
    period = {"start": _write(chance, start), "end": _write(chance, end)}
    if chance.random() < 0.08:
        del period["end"]
    return {
        "resourceType": "Encounter",
        "id": key,
        "status": chance.choice(("finished", "finished", "finished", "in-progress", "cancelled")),
        "class": {"code": chance.choice(("IMP", "EMER", "AMB"))},
        "subject": {"reference": f"Patient/{person}"},
        "serviceProvider": {"reference": "Organization/ha-harbour"},
        "period": period,
    }


def draw_record(chance: random.Random, key: str, person: str, when: datetime) -> Resource:
    """Return a condition, a prescription, a procedure or a laboratory result."""
    subject = {"reference": f"Patient/{person}"}
    text = _write(chance, when)
    match chance.choice(
        ("Condition", "Condition", "MedicationRequest", "Procedure", "Observation")
    ):
        case "Condition":
            verified = chance.choice(("confirmed", "confirmed", "refuted", "entered-in-error"))
            found: Resource = {
                "code": {"text": "?"}
                if chance.random() < 0.05
                else _code(ICD, chance.choice(_DIAGNOSES)),
                "verificationStatus": {"coding": [{"code": verified}]},
                "onsetDateTime": chance.choice((text, text, text[:4], text[:7])),
            }
            if chance.random() < 0.4:
                over = when + timedelta(days=chance.randint(1, 300))
                found["abatementDateTime"] = _write(chance, over)
            return {"resourceType": "Condition", "id": key, "subject": subject, **found}
        case "MedicationRequest":
            return {
                "resourceType": "MedicationRequest", "id": key, "subject": subject,
                "status": "active", "intent": "order", "authoredOn": text,
                "medicationCodeableConcept": _code(ATC, chance.choice(_MEDICINES)),
            }  # fmt: skip
        case "Procedure":
            return {
                "resourceType": "Procedure", "id": key, "subject": subject,
                "status": chance.choice(("completed", "not-done")), "performedDateTime": text,
                "code": _code("urn:procedures", chance.choice(_PROCEDURES)),
            }  # fmt: skip
        case _:
            test = chance.choice(sorted(_TESTS))
            value, unit = chance.choice(_TESTS[test])
            quantity = {"value": value, "unit": unit or "?"}
            if unit is not None:
                quantity |= {"system": "http://unitsofmeasure.org", "code": unit}
            return {
                "resourceType": "Observation", "id": key, "subject": subject, "status": "final",
                "category": [{"coding": [{"code": chance.choice(("laboratory", "vital-signs"))}]}],
                "code": _code("http://loinc.org", test), "effectiveDateTime": text,
                "valueQuantity": quantity,
            }  # fmt: skip


def build_views(
    declaration: FrameDeclaration, resources: Iterable[Resource]
) -> Mapping[str, pa.Table]:
    """Return the tables of a frame as the lake makes them: compiled views on DuckDB."""
    listed = list(resources)
    records = pa.table(
        {
            "type": [resource["resourceType"] for resource in listed],
            "resource": [json.dumps(resource) for resource in listed],
        }
    )
    return {name: run_view(find_exact_view(name), lambda: records) for name in declaration.columns}


def _code(system: str, code: str) -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def _write(chance: random.Random, when: datetime) -> str:
    """Return an instant as some system writes it: in UTC, with a zone, or as a day."""
    local = when + timedelta(hours=8)
    return chance.choice(
        (
            f"{when:%Y-%m-%dT%H:%M:%SZ}",
            f"{local:%Y-%m-%dT%H:%M:%S}+08:00",
            f"{local:%Y-%m-%dT%H:%M:%S}.250+08:00",
            f"{local:%Y-%m-%d}",
        )
    )
