"""How long FHIRPath takes: `python -m tests.perf.bench_fhirpath`.

Microseconds of processor time for each expression, best of several rounds, on one Patient and one
Observation; compiling is not counted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ehr_fhir import fhirpath

ROUNDS = 7
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "active": True,
    "identifier": [{"system": "urn:hkid", "value": "A1"}, {"system": "urn:mrn", "value": "7"}],
    "name": [
        {"use": "official", "family": "Chan", "given": ["Tai", "Man"]},
        {"use": "usual", "given": ["Thomas"]},
    ],
    "telecom": [
        {"system": "phone", "use": "home", "value": "2"},
        {"system": "phone", "use": "work", "value": "3"},
        {"system": "email", "value": "a@b"},
    ],
    "gender": "male",
    "birthDate": "1974-12-25",
}
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "status": "final",
    "subject": {"reference": "Patient/p1"},
    "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
    "effectiveDateTime": "2016-03-28T10:00:00+08:00",
    "valueQuantity": {
        "value": Decimal("85.50"),
        "unit": "kg",
        "system": "http://unitsofmeasure.org",
        "code": "kg",
    },
}
EXPRESSIONS: tuple[tuple[dict[str, Any], str], ...] = (
    (PATIENT, "Patient.birthDate"),
    (PATIENT, "Patient.name.given"),
    (PATIENT, "Patient.name.where(use = 'official').given.first()"),
    (PATIENT, "Patient.telecom.where(system = 'phone' and use = 'work').value"),
    (PATIENT, "Patient.identifier.where(system = 'urn:hkid').value"),
    (PATIENT, "Patient.birthDate < today()"),
    (PATIENT, "Patient.descendants().count()"),
    (OBSERVATION, "Observation.subject.reference"),
    (OBSERVATION, "Observation.value.ofType(Quantity).value > 80"),
    (OBSERVATION, "Observation.value > 80000 'g'"),
    (OBSERVATION, "Observation.code.coding.exists(system = 'http://loinc.org' and code = 'x')"),
)


def main() -> None:
    """Write the table."""
    for resource, text in EXPRESSIONS:
        sys.stdout.write(f"{_microseconds(_ours(resource, text), 2000):9.1f} us  {text}\n")


def _ours(resource: dict[str, Any], text: str) -> Callable[[], object]:
    compiled, now = fhirpath.compile(text), datetime.now(UTC)
    return lambda: compiled.evaluate(resource, now=now)


def _microseconds(run: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(times):
            run()
        best = min(best, (time.process_time() - start) / times)
    return best * 1e6


if __name__ == "__main__":
    main()
