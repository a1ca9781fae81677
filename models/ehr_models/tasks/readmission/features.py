"""Acute stays and what is known of them at discharge, from three gold views.

The views may be the de-identified gold (training) or the identified ones (scoring): the columns are
the same. Every date is read to the day, as de-identification cuts it, so that a stay is as long
where the model learns as where it scores. Nothing of a feature comes from after the discharge,
except that a condition counts as active by its present status: the views do not say when it ended.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

import pandas as pd

from ehr_fhir.dates import local_day
from ehr_fhir.jurisdiction import JURISDICTION
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
    acute = _select_acute(encounters).copy()
    acute["started"] = _parse_instants(acute["start"])
    acute["ended"] = _parse_instants(acute["end"])
    acute = acute.dropna(subset=["started", "ended"])
    acute["ended"] = acute[["started", "ended"]].max(axis=1)
    acute = acute.sort_values(["patient_id", "started", "ended"], kind="stable")
    acute["stay"] = _number_stays(acute)
    # By the day: of encounters that began on it nobody knows the first, once times are cut.
    first_day = acute.groupby(["patient_id", "stay"])["started"].transform("min")
    is_emergency = (acute["class"] == "EMER") & (acute["started"] == first_day)
    acute["emergency"] = is_emergency.astype(float)
    stays = (
        acute.groupby(["patient_id", "stay"], sort=True)
        .agg(
            encounter_id=("id", "last"),
            started=("started", "min"),
            ended=("ended", "max"),
            emergency=("emergency", "max"),
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
    encounters = _cut_to_days(views["encounter_flat"])
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
    conditions["at"] = _parse_instants(conditions["onset"].map(_find_onset_day))
    active = conditions[conditions["clinical_status"].isin(ACTIVE_STATUSES)]
    stays["conditions_active"] = _count_distinct_codes(stays, active, None)
    stays["conditions_12m"] = _count_distinct_codes(stays, conditions, _A_YEAR)
    stays["ended"] = _find_end_instants(stays, views["encounter_flat"])
    frame = stays[[*STAY_COLUMNS, *FEATURES, TARGET]]
    return frame.astype(dict.fromkeys(FEATURES, float))


def _cut_to_days(encounters: pd.DataFrame) -> pd.DataFrame:
    """Return encounters with the days of their start and end, without their times."""
    return encounters.assign(
        start=encounters["start"].map(_find_day), end=encounters["end"].map(_find_day)
    )


def _find_day(text: object) -> str | None:
    """Return the day of a FHIR date in the jurisdiction's calendar, None if it is not known.

    >>> _find_day("2025-12-31T20:00:00Z"), _find_day("2025-12-31"), _find_day("2025-12")
    ('2026-01-01', '2025-12-31', None)
    """
    day = local_day(text) if isinstance(text, str) else None
    return None if day is None else day.isoformat()


def _find_onset_day(text: object) -> str | None:
    """Return the day of an onset; of one that is known to the month or the year, that year's first.

    De-identification leaves no more than the year of such a date.
    """
    if not isinstance(text, str):
        return None
    return f"{text[:4]}-01-01" if len(text) < len("2020-01-01") else _find_day(text)


def _find_end_instants(stays: pd.DataFrame, encounters: pd.DataFrame) -> pd.Series[pd.Timestamp]:
    """Return the instants at which stays ended that are known by their days."""
    acute = _select_acute(encounters)
    ends = pd.DataFrame(
        {
            "patient_id": acute["patient_id"],
            "ended": _parse_instants(acute["end"].map(_find_day)),
            "at": _parse_instants(acute["end"].map(_find_instant)),
        }
    )
    latest = ends.groupby(["patient_id", "ended"])["at"].max()
    found = stays[["patient_id", "ended"]].join(latest, on=["patient_id", "ended"])["at"]
    return found.fillna(stays["ended"])


def _find_instant(text: object) -> str | None:
    """Return the instant at which a FHIR date begins; a day begins in the jurisdiction's zone."""
    if not isinstance(text, str):
        return None
    day = _find_day(text)
    if day is None or len(text) > len(day):
        return text
    return datetime.combine(date.fromisoformat(day), time.min, JURISDICTION.zone).isoformat()


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


def _select_acute(encounters: pd.DataFrame) -> pd.DataFrame:
    """Return the acute encounters that took place."""
    took_place = ~_column(encounters, "status").isin(NOT_TAKEN_PLACE)
    return encounters[encounters["class"].isin(ACUTE_CLASSES) & took_place]


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
