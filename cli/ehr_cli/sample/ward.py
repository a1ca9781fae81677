"""The sample's ward: inpatients of these days with their rounds of vital signs.

Complete and incomplete sets of what NEWS2 asks for (Royal College of Physicians, 2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ehr_cli.sample.details import quantity
from ehr_cli.sample.resource_builders import (
    ACT_CODE,
    CONSCIOUSNESS,
    DECISION,
    LOINC,
    TERMINOLOGY,
    Resource,
    build,
    build_concept,
    organization_reference,
    reference_to,
    staff_reference,
)

HOSPITAL = "ha-harbour"
DOCTOR = "dr-chan"
VITAL_SIGNS = build_concept(f"{TERMINOLOGY}/observation-category", "vital-signs", "Vital Signs")
# What a round measures: LOINC code, display and UCUM unit.
RESPIRATION = ("9279-1", "Respiratory rate", "/min")
SATURATION = ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry", "%")
OXYGEN = ("3151-8", "Inhaled oxygen flow rate", "L/min")
PULSE = ("8867-4", "Heart rate", "/min")
TEMPERATURE = ("8310-5", "Body temperature", "Cel")
SYSTOLIC = ("8480-6", "Systolic blood pressure", "mm[Hg]")
DIASTOLIC = ("8462-4", "Diastolic blood pressure", "mm[Hg]")
# Code, display, Traditional, Simplified.
LEVELS = (
    ("A", "Alert", "清醒", "清醒"),
    ("C", "New confusion", "新出現神志混亂", "新出现意识模糊"),
    ("V", "Responds to voice", "對聲音有反應", "对声音有反应"),
    ("P", "Responds to pain", "對疼痛有反應", "对疼痛有反应"),
    ("U", "Unresponsive", "無反應", "无反应"),
)


def build_consciousness_codes() -> Resource:
    """Return the CodeSystem of the levels of consciousness, named in three languages."""
    concepts = [
        {
            "code": code,
            "display": display,
            "designation": [
                {"language": "zh-Hant-HK", "value": traditional},
                {"language": "zh-Hans-CN", "value": simplified},
            ],
        }
        for code, display, traditional, simplified in LEVELS
    ]
    return {
        "resourceType": "CodeSystem",
        "id": "consciousness",
        "url": CONSCIOUSNESS,
        "name": "Consciousness",
        "title": "Level of consciousness",
        "status": "active",
        "content": "complete",
        "caseSensitive": True,
        "concept": concepts,
    }


def build_ward(rows: Sequence[dict[str, Any]], patients: Sequence[str]) -> Iterator[Resource]:
    """Yield the stay of each inpatient, then the observations of each round."""
    for row in rows:
        patient = patients[row["patient"]]
        stay = _build_stay(row, patient)
        yield stay
        if "alert" in row:
            yield _build_alert(row, patient, stay)
        if "scale_2_since" in row:
            yield _build_scale_decision(row["scale_2_since"], patient, stay)
        for values in row["rounds"]:
            yield from _build_round(values, patient, stay)


def _build_stay(row: dict[str, Any], patient: str) -> Resource:
    attending = build_concept(f"{TERMINOLOGY}/v3-ParticipationType", "ATND", "attender")
    elements = {
        "status": "in-progress",
        "class": {"system": ACT_CODE, "code": "IMP", "display": "inpatient encounter"},
        "type": [{"text": "Hospital admission"}],
        "participant": [{"type": [attending], "individual": staff_reference(DOCTOR)}],
        "period": {"start": row["since"]},
        "reasonCode": [{"text": row["reason"]}],
        "location": [
            {
                "location": {
                    "reference": f"Location/{HOSPITAL}-ward",
                    "display": f"Ward, bed {row['bed']}",
                },
                "status": "active",
            }
        ],
        "serviceProvider": organization_reference(HOSPITAL),
    }
    return build("Encounter", f"ward|{patient}", HOSPITAL, elements, patient)


def _build_alert(row: dict[str, Any], patient: str, stay: Resource) -> Resource:
    category = build_concept(f"{TERMINOLOGY}/flag-category", "clinical", "Clinical")
    elements = {
        "status": "active",
        "category": [category],
        "code": {"text": row["alert"]},
        "period": {"start": row["since"]},
        "encounter": reference_to(stay),
        "author": staff_reference(DOCTOR),
    }
    return build("Flag", f"ward|{patient}", HOSPITAL, elements, patient)


def _build_scale_decision(at: str, patient: str, stay: Resource) -> Resource:
    """Return a doctor's decision for scale 2 of the saturation of NEWS2."""
    elements = {
        "status": "final",
        "category": [VITAL_SIGNS],
        "code": build_concept(DECISION, "spo2-scale", "Scale of the oxygen saturation (NEWS2)"),
        "encounter": reference_to(stay),
        "effectiveDateTime": at,
        "issued": at,
        "performer": [staff_reference(DOCTOR), organization_reference(HOSPITAL)],
        "valueCodeableConcept": build_concept(DECISION, "2", "Scale 2: target 88 to 92 %"),
    }
    return build("Observation", f"ward|{patient}|{at}|spo2-scale", HOSPITAL, elements, patient)


def _build_round(values: Sequence[Any], patient: str, stay: Resource) -> Iterator[Resource]:
    at, breaths, saturation, oxygen, systolic, diastolic, pulse, temperature, level = values
    measured = (
        (RESPIRATION, breaths),
        (SATURATION, saturation),
        (OXYGEN, oxygen),
        (PULSE, pulse),
        (TEMPERATURE, temperature),
    )
    found: list[tuple[str, str, Resource]] = [
        (code, display, {"valueQuantity": quantity(value, unit, unit)})
        for (code, display, unit), value in measured
        if value != ""
    ]
    if systolic != "":
        pressures = ((SYSTOLIC, systolic), (DIASTOLIC, diastolic))
        components = [
            {
                "code": build_concept(LOINC, code, display),
                "valueQuantity": quantity(value, unit, unit),
            }
            for (code, display, unit), value in pressures
        ]
        found.append(("85354-9", "Blood pressure panel", {"component": components}))
    if level:
        display = next(row[1] for row in LEVELS if row[0] == level)
        value = {"valueCodeableConcept": build_concept(CONSCIOUSNESS, level, display)}
        found.append(("67775-7", "Level of responsiveness", value))
    for code, display, value in found:
        elements = {
            "status": "final",
            "category": [VITAL_SIGNS],
            "code": build_concept(LOINC, code, display),
            "encounter": reference_to(stay),
            "effectiveDateTime": at,
            "issued": at,
            "performer": [organization_reference(HOSPITAL)],
            **value,
        }
        yield build("Observation", f"ward|{patient}|{at}|{code}", HOSPITAL, elements, patient)
