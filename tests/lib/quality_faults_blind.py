"""Twenty faults as real data has them, written before it was looked at which rules catch them.

Of them 12 were caught at first; for the others rules were added. Each stands for its kind.
"""

from __future__ import annotations

from typing import Any

from tests.lib.quality_faults import (
    PATIENT,
    component,
    condition,
    encounter_of,
    observation,
    person,
    prescription,
    quantity,
)

Records = list[dict[str, Any]]

ICD10 = "http://hl7.org/fhir/sid/icd-10"
# Name -> key of the record at fault, and the records.
BLIND: dict[str, tuple[str, Records]] = {
    "height in metres coded as centimetres": (
        "Observation/o",
        [person(), observation("o", "8302-2", quantity(1.72, "cm"))],
    ),
    "glucose in mmol/L coded as mg/dL": (
        "Observation/o",
        [person(), observation("o", "2345-7", quantity(5.4, "mg/dL"))],
    ),
    "a newborn's grams coded as kilograms": (
        "Observation/o",
        [person(), observation("o", "29463-7", quantity(3200, "kg"))],
    ),
    "a fever of 37 degrees Fahrenheit": (
        "Observation/o",
        [person(), observation("o", "8310-5", {"value": 37, "unit": "°F"})],
    ),
    "a result in a unit of another kind": (
        "Observation/o",
        [person(), observation("o", "718-7", quantity(14, "mm[Hg]"))],
    ),
    "a panel whose potassium is 45": (
        "Observation/o",
        [
            person(),
            observation(
                "o",
                "24323-8",
                component=[
                    {**component("2823-3", 0), "valueQuantity": quantity(45, "mmol/L")}
                ],
            ),
        ],
    ),
    "a number without a unit": (
        "Observation/o",
        [person(), observation("o", "2160-0", {"value": 88})],
    ),
    "two results of one instant that differ": (
        "Observation/o2",
        [
            person(),
            observation("o1", "2823-3", quantity(4.1, "mmol/L")),
            observation("o2", "2823-3", quantity(7.9, "mmol/L")),
        ],
    ),
    "an index that is not weight over height squared": (
        "Observation/b",
        [
            person(),
            observation("w", "29463-7", quantity(70, "kg")),
            observation("h", "8302-2", quantity(175, "cm")),
            observation("b", "39156-5", quantity(41, "kg/m2")),
        ],
    ),
    "a measurement of a stay that was over a year before": (
        "Observation/o",
        [
            person(),
            encounter_of(),
            observation(
                "o", "8867-4", quantity(70, "/min"), effectiveDateTime="2025-01-01",
                encounter={"reference": "Encounter/e1"},
            ),
        ],
    ),
    "a stay that is part of itself": (
        "Encounter/e1",
        [person(), encounter_of(partOf={"reference": "Encounter/e1"})],
    ),
    "a clock that stood at its beginning": (
        "Observation/o",
        [
            person(),
            observation("o", "8867-4", quantity(70, "/min"),
                        effectiveDateTime="1970-01-01T00:00:00Z"),
        ],
    ),
    "a birth date that somebody typed because one was needed": (
        "Patient/p1",
        [person(birthDate="1900-01-01"), encounter_of()],
    ),
    "cancer of the prostate in a woman": (
        "Condition/c",
        [person(), condition("c", ICD10, "C61.9")],
    ),
    "an illness that ended before it began": (
        "Condition/c",
        [person(), condition("c", ICD10, "I10", abatementDateTime="2019-05")],
    ),
    "medicine for minus thirty days": (
        "MedicationRequest/m",
        [
            person(),
            prescription(
                "m",
                quantity(1, "g"),
                dispenseRequest={"expectedSupplyDuration": quantity(-30, "d")},
            ),
        ],
    ),
    "a vaccine given twice on one day": (
        "Immunization/i2",
        [
            person(),
            *(
                {"resourceType": "Immunization", "id": identifier, "status": "completed",
                 "vaccineCode": {"text": "influenza"}, "patient": PATIENT,
                 "occurrenceDateTime": "2026-03-01"}
                for identifier in ("i1", "i2")
            ),
        ],
    ),
    "a sample that came before it was taken": (
        "Specimen/s",
        [
            person(),
            {"resourceType": "Specimen", "id": "s", "subject": PATIENT,
             "receivedTime": "2026-03-01T08:00:00+08:00",
             "collection": {"collectedDateTime": "2026-03-05T08:00:00+08:00"}},
        ],
    ),
    "in two hospital beds for the same week": (
        "Encounter/e2",
        [
            person(),
            encounter_of(serviceProvider={"reference": "Organization/a"}),
            encounter_of("e2", serviceProvider={"reference": "Organization/b"}),
        ],
    ),
    "a person of the test system": (
        "Patient/p1",
        [person(name=[{"family": "TEST", "given": ["Test"]}]), encounter_of()],
    ),
}  # fmt: skip
