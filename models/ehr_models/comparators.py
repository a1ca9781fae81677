"""Comparators that task files name: published scores (`scores`) from a frame's features.

A part whose feature is not there, or not known of a row, adds nothing: points are a lower bound.
LACE's comorbidity counts active conditions in place of Charlson's score, where records have no
ICD-10. HOSPITAL is without the oncology service and, as in its simplified form, the procedure.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ehr_models.scores.hospital import SIMPLIFIED, HospitalSettings
from ehr_models.scores.rows import score_hospital_rows, score_lace_rows
from ehr_models.task import Comparator

__all__ = ["COMPARATORS", "compute_hospital", "compute_lace"]


def compute_lace(frame: pd.DataFrame) -> pd.Series[float]:
    """Return the LACE points of each stay.

    >>> stay = {"length_of_stay": [5.0], "emergency": [1.0], "conditions_active": [2.0],
    ...         "prior_emergency_6m": [6.0]}
    >>> float(compute_lace(pd.DataFrame(stay)).iloc[0])  # 4 + 3 + 2 + 4
    13.0
    """
    inputs = {
        "days": frame["length_of_stay"],
        "acute": frame["emergency"],
        "comorbidity": frame["conditions_active"],
        "visits": frame["prior_emergency_6m"],
    }
    return score_lace_rows(pd.DataFrame(inputs))["lower_bound"]


def compute_hospital(frame: pd.DataFrame) -> pd.Series[float]:
    """Return the points of HOSPITAL, version 2, without oncology and procedure.

    >>> stay = {"length_of_stay": [6.0], "emergency": [1.0], "prior_acute_12m": [2.0],
    ...         "haemoglobin": [11.0], "sodium": [float("nan")]}
    >>> float(compute_hospital(pd.DataFrame(stay)).iloc[0])  # 2 + 1 + 2 + 1
    6.0
    """
    inputs = {
        "days": frame["length_of_stay"],
        "urgent": frame["emergency"],
        "admissions": frame["prior_acute_12m"],
        "haemoglobin": frame["haemoglobin"],
        "sodium": frame["sodium"],
        "oncology": float("nan"),
        "procedure": float("nan"),
    }
    settings = HospitalSettings(form=SIMPLIFIED)
    return score_hospital_rows(pd.DataFrame(inputs), settings)["lower_bound"]


# By name: the comparator, and the features that it needs.
COMPARATORS: Mapping[str, tuple[Comparator, tuple[str, ...]]] = {
    "lace": (
        Comparator("lace", "LACE", compute_lace),
        ("length_of_stay", "emergency", "conditions_active", "prior_emergency_6m"),
    ),
    "hospital": (
        Comparator("hospital", "HOSPITAL without oncology and procedure", compute_hospital),
        ("length_of_stay", "emergency", "prior_acute_12m", "haemoglobin", "sodium"),
    ),
}
