"""Resources of a stay on a ward, and the tables that they give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ehr_fhir.news2 import CONSCIOUSNESS_SYSTEM
from ehr_models.ward.tables import WardReader, WardTables

Resource = dict[str, Any]

ADMITTED = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
# LOINC code, unit and value of example B of NEWS2: 10 points.
EXAMPLE_B = {
    "9279-1": ("/min", 22),
    "59408-5": ("%", 93),
    "3151-8": ("L/min", 2),
    "8480-6": ("mm[Hg]", 105),
    "8867-4": ("/min", 112),
    "8310-5": ("Cel", 38.5),
}


def write_time(hours: float) -> str:
    """Return an instant so many hours after the admission."""
    return (ADMITTED + timedelta(hours=hours)).isoformat()


def person(**more: Any) -> Resource:
    """Return a patient of about 76 years."""
    return {
        "resourceType": "Patient",
        "id": "p",
        "birthDate": "1950-01-01",
        "gender": "male",
    } | more


def stay(start: float = 0, end: float | None = None, code: str = "", **more: Any) -> Resource:
    """Return an inpatient encounter; `code` is the SNOMED CT code of its type."""
    period = {"start": write_time(start)} | ({"end": write_time(end)} if end is not None else {})
    coding = {"system": "http://snomed.info/sct", "code": code}
    kind = {"type": [{"coding": [coding]}]} if code else {}
    return {
        "resourceType": "Encounter",
        "id": f"e{start:g}",
        "status": "in-progress" if end is None else "finished",
        "class": {"code": "IMP"},
        "period": period,
        "serviceProvider": {"reference": "Organization/h1"},
        **kind,
        **more,
    }


def value(code: str, unit: str, number: float, hours: float, **more: Any) -> Resource:
    """Return an Observation of a number."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "effectiveDateTime": write_time(hours),
        "valueQuantity": {"value": number, "unit": unit, "code": unit},
        **more,
    }


def a_round(hours: float, **changes: Any) -> list[Resource]:
    """Return the seven signs of example B at one time; a change of a code to None leaves it out."""
    signs = EXAMPLE_B | {f"{code.replace('_', '-')[1:]}": row for code, row in changes.items()}
    found = [value(c, row[0], row[1], hours) for c, row in signs.items() if row is not None]
    alert = {"coding": [{"system": CONSCIOUSNESS_SYSTEM, "code": "A"}]}
    level = value("67775-7", "", 0, hours) | {"valueCodeableConcept": alert}
    del level["valueQuantity"]
    return [*found, level]


def read_tables(resources: list[Resource], patient: str = "p") -> WardTables:
    """Return the tables of one patient's resources."""
    reader = WardReader()
    for resource in resources:
        reader.add(patient, resource)
    return reader.finish()
