"""Acute stays and what is known of them at discharge, from three gold views.

The views may be the de-identified gold (training) or the identified ones (scoring): the columns are
the same. Nothing of a feature comes from after the discharge, except that a condition counts as
active by its present status: the views do not say when it ended.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from ehr_models.task import ENCOUNTER, PATIENT, PREDICTED_AT, Views

VIEWS = ("patient_demographics", "encounter_flat", "condition_flat")
# Codes of v3-ActCode: inpatient, emergency.
ACUTE_CLASSES = ("IMP", "EMER")
# Codes of encounter-status of what did not take place, or not yet.
NOT_TAKEN_PLACE = ("planned", "cancelled", "entered-in-error")
# The code of condition-ver-status of a condition that the patient does not have.
REFUTED = "refuted"
OLDEST_AGE = 90
RETURN_WITHIN = pd.Timedelta(days=28)
# Codes of condition-clinical that R4 counts as active.
ACTIVE_STATUSES = ("active", "recurrence", "relapse")

FEATURES = (
    "age",
    "female",
    "length_of_stay",
    "emergency",
    "prior_acute_6m",
    "prior_acute_12m",
    "prior_emergency_6m",
    "conditions_active",
    "conditions_12m",
)
TARGET = "returned"
STAY_COLUMNS = (PATIENT, ENCOUNTER, "started", PREDICTED_AT)

_HALF_A_YEAR = pd.Timedelta(days=183)
_A_YEAR = pd.Timedelta(days=365)


def build_index_stays(encounters: pd.DataFrame) -> pd.DataFrame:
    """Return one row per acute stay: STAY_COLUMNS, emergency, TARGET (1, 0 or missing).

    Encounters that overlap or touch are one stay (emergency department, ward, intensive care). A
    return is known to have happened or not only if the 28 days lie within the data.
    """
    took_place = ~_column(encounters, "status").isin(NOT_TAKEN_PLACE)
    acute = encounters[encounters["class"].isin(ACUTE_CLASSES) & took_place].copy()
    acute["started"] = _parse_instants(acute["start"])
    acute["ended"] = _parse_instants(acute["end"])
    acute = acute.dropna(subset=["started", "ended"])
    acute["ended"] = acute[["started", "ended"]].max(axis=1)
    acute = acute.sort_values(["patient_id", "started", "ended"], kind="stable")
    acute["stay"] = _number_stays(acute)
    acute["emergency"] = (acute["class"] == "EMER").astype(float)
    stays = (
        acute.groupby(["patient_id", "stay"], sort=True)
        .agg(
            encounter_id=("id", "last"),
            started=("started", "min"),
            ended=("ended", "max"),
            emergency=("emergency", "first"),
        )
        .reset_index()
        .drop(columns="stay")
    )
    next_started = stays.groupby("patient_id")["started"].shift(-1)
    deadline = stays["ended"] + RETURN_WITHIN
    end_of_data = stays["started"].max()
    stays[TARGET] = (next_started <= deadline).astype(float).where(deadline <= end_of_data)
    return stays


def build_features(views: Views) -> pd.DataFrame:
    """Return one row per acute stay: STAY_COLUMNS, FEATURES (all float), TARGET where known."""
    encounters = views["encounter_flat"]
    stays = build_index_stays(encounters)
    people = views["patient_demographics"].set_index("id")
    stays["age"] = _find_ages(stays, encounters, people["birth_year"])
    stays["female"] = (stays["patient_id"].map(people["gender"]) == "female").astype(float)
    stays["length_of_stay"] = (stays["ended"] - stays["started"]).dt.total_seconds() / 86_400

    earlier_stays = stays[["patient_id", "ended"]].rename(columns={"ended": "at"})
    stays["prior_acute_6m"] = _count_events_before(stays, earlier_stays, _HALF_A_YEAR)
    stays["prior_acute_12m"] = _count_events_before(stays, earlier_stays, _A_YEAR)
    took_place = ~_column(encounters, "status").isin(NOT_TAKEN_PLACE)
    is_emergency = (encounters["class"] == "EMER") & took_place
    emergencies = encounters.loc[is_emergency, ["patient_id", "start"]].copy()
    emergencies["at"] = _parse_instants(emergencies["start"])
    stays["prior_emergency_6m"] = _count_events_before(stays, emergencies, _HALF_A_YEAR)

    told = views["condition_flat"]
    is_refuted = _column(told, "verification_status") == REFUTED
    conditions = told.loc[~is_refuted, ["patient_id", "code", "clinical_status", "onset"]].copy()
    conditions["at"] = _parse_instants(conditions["onset"])
    active = conditions[conditions["clinical_status"].isin(ACTIVE_STATUSES)]
    stays["conditions_active"] = _count_distinct_codes(stays, active, None)
    stays["conditions_12m"] = _count_distinct_codes(stays, conditions, _A_YEAR)
    frame = stays[[*STAY_COLUMNS, *FEATURES, TARGET]]
    return frame.astype(dict.fromkeys(FEATURES, float))


def _find_ages(
    stays: pd.DataFrame, encounters: pd.DataFrame, birth_years: pd.Series[int]
) -> pd.Series[float]:
    """Return the age at each stay: as it was worked out at de-identification, or by calendar years.

    Of past ages of the oldest, the one class of de-identified birth years says nothing.
    """
    told = _column(encounters, "age").set_axis(encounters["id"])
    told = told[~told.index.duplicated()]
    by_years = stays["started"].dt.year - stays["patient_id"].map(birth_years).astype(float)
    ages = stays["encounter_id"].map(told).astype(float)
    return ages.fillna(by_years).clip(lower=0, upper=OLDEST_AGE)


def _column(frame: pd.DataFrame, name: str) -> pd.Series[Any]:  # of any type
    """Return a column that tables made by an older version lack; empty then."""
    return frame[name] if name in frame else pd.Series(None, index=frame.index, dtype="object")


def select_latest_stays(frame: pd.DataFrame) -> pd.DataFrame:
    """Return each patient's latest acute stay."""
    return frame.sort_values("ended").groupby("patient_id", sort=True).tail(1)


def _parse_instants(texts: pd.Series[str]) -> pd.Series[pd.Timestamp]:
    return pd.to_datetime(texts, utc=True, format="ISO8601", errors="coerce")


def _number_stays(acute: pd.DataFrame) -> pd.Series[int]:
    """Number each patient's stays: encounters that overlap or touch share a number."""
    # As numbers: pandas has no running maximum of instants within groups.
    ends = acute["ended"].astype("int64")
    latest_end_so_far = (
        ends.groupby(acute["patient_id"]).cummax().groupby(acute["patient_id"]).shift()
    )
    starts_new_stay = ~(acute["started"].astype("int64") <= latest_end_so_far)
    return starts_new_stay.astype(int).groupby(acute["patient_id"]).cumsum()


def _count_events_before(
    stays: pd.DataFrame, events: pd.DataFrame, within: pd.Timedelta
) -> pd.Series[float]:
    """Count a patient's events within a time before the admission."""
    pairs = stays[["patient_id", "started"]].reset_index().merge(events, on="patient_id")
    before = pairs[(pairs["at"] < pairs["started"]) & (pairs["at"] >= pairs["started"] - within)]
    return before.groupby("index").size().reindex(stays.index, fill_value=0).astype(float)


def _count_distinct_codes(
    stays: pd.DataFrame, conditions: pd.DataFrame, within: pd.Timedelta | None
) -> pd.Series[float]:
    """Count the distinct codes recorded up to the discharge, or within a time before it."""
    pairs = stays[["patient_id", "ended"]].reset_index().merge(conditions, on="patient_id")
    recorded = pairs["at"] <= pairs["ended"]
    if within is not None:
        recorded &= pairs["at"] >= pairs["ended"] - within
    counts = pairs[recorded].groupby("index")["code"].nunique()
    return counts.reindex(stays.index, fill_value=0).astype(float)
