"""NEWS2, the National Early Warning Score 2 (Royal College of Physicians, London 2017).

In: the seven signs of one round, as numbers (`Signs`) or as values of Observations.
Out: the points of each sign, the total or its lower bound, the risk. The one place where the
platform works the score out: the portal shows it, the models learn beside it.
May import: jurisdiction, score_points, units.
"""

from __future__ import annotations

from ehr_fhir.news2.score import (
    ACVPU,
    ALERT,
    CONSCIOUSNESS,
    HIGH,
    LOW,
    LOW_MEDIUM,
    MEDIUM,
    MIN_AGE,
    OXYGEN,
    PARAMETERS,
    PULSE,
    RESPIRATION,
    RISKS,
    SATURATION,
    SYSTOLIC,
    TEMPERATURE,
    News2,
    Signs,
    find_points,
    find_saturation_points,
    round_to_step,
    work_out,
)
from ehr_fhir.news2.signs import (
    COMPARATOR,
    CONSCIOUSNESS_SYSTEM,
    IMPOSSIBLE,
    NO_VALUE,
    ROUND_WINDOW,
    SCALE_CODE,
    SCALE_SYSTEM,
    UNKNOWN_CODE,
    WRONG_UNIT,
    Reading,
    list_codes,
    read_consciousness,
    read_quantity,
    read_scale_decision,
)

__all__ = [
    "ACVPU",
    "ALERT",
    "COMPARATOR",
    "CONSCIOUSNESS",
    "CONSCIOUSNESS_SYSTEM",
    "HIGH",
    "IMPOSSIBLE",
    "LOW",
    "LOW_MEDIUM",
    "MEDIUM",
    "MIN_AGE",
    "NO_VALUE",
    "OXYGEN",
    "PARAMETERS",
    "PULSE",
    "RESPIRATION",
    "RISKS",
    "ROUND_WINDOW",
    "SATURATION",
    "SCALE_CODE",
    "SCALE_SYSTEM",
    "SYSTOLIC",
    "TEMPERATURE",
    "UNKNOWN_CODE",
    "WRONG_UNIT",
    "News2",
    "Reading",
    "Signs",
    "find_points",
    "find_saturation_points",
    "list_codes",
    "read_consciousness",
    "read_quantity",
    "read_scale_decision",
    "round_to_step",
    "work_out",
]
