"""Acute stays and what is known of them at discharge, from the three views.

The views may be the de-identified gold (training) or the identified ones (scoring): the columns are
the same. Nothing of a feature comes from after the discharge, except that a condition counts as
active by its status of today: the views do not say when it ended.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

ACUTE = ("IMP", "EMER")
RETURN_WITHIN = pd.Timedelta(days=28)
ACTIVE = ("active", "recurrence", "relapse")

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
OUTCOME = "returned"
STAY = ("patient_id", "encounter_id", "started", "ended")

_HALF_A_YEAR = pd.Timedelta(days=183)
_A_YEAR = pd.Timedelta(days=365)

Views = Mapping[str, pd.DataFrame]


def index_stays(encounters: pd.DataFrame) -> pd.DataFrame:
    """Return one row per acute stay: STAY, emergency, returned (1, 0, or missing if not yet known).

    Encounters that overlap or touch are one stay (emergency department, ward, intensive care). A
    return is known to have happened or not only if the 28 days lie within the data.
    """
    acute = encounters[encounters["class"].isin(ACUTE)].copy()
    acute["started"] = _instants(acute["start"])
    acute["ended"] = _instants(acute["end"])
    acute = acute.dropna(subset=["started", "ended"])
    acute["ended"] = acute[["started", "ended"]].max(axis=1)
    acute = acute.sort_values(["patient_id", "started", "ended"], kind="stable")
    acute["stay"] = _stay_numbers(acute)
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
    following = stays.groupby("patient_id")["started"].shift(-1)
    until = stays["ended"] + RETURN_WITHIN
    stays[OUTCOME] = (following <= until).astype(float).where(until <= stays["started"].max())
    return stays


def features(views: Views) -> pd.DataFrame:
    """Return one row per acute stay: STAY, FEATURES (all float), and the outcome where known."""
    encounters = views["encounter_flat"]
    stays = index_stays(encounters)
    people = views["patient_demographics"].set_index("id")
    born = stays["patient_id"].map(people["birth_year"])
    stays["age"] = (stays["started"].dt.year - born.astype(float)).clip(lower=0)
    stays["female"] = (stays["patient_id"].map(people["gender"]) == "female").astype(float)
    stays["length_of_stay"] = (stays["ended"] - stays["started"]).dt.total_seconds() / 86_400

    earlier = stays[["patient_id", "ended"]].rename(columns={"ended": "at"})
    stays["prior_acute_6m"] = _count_before(stays, earlier, _HALF_A_YEAR)
    stays["prior_acute_12m"] = _count_before(stays, earlier, _A_YEAR)
    emergencies = encounters.loc[encounters["class"] == "EMER", ["patient_id", "start"]].copy()
    emergencies["at"] = _instants(emergencies["start"])
    stays["prior_emergency_6m"] = _count_before(stays, emergencies, _HALF_A_YEAR)

    conditions = views["condition_flat"][["patient_id", "code", "clinical_status", "onset"]].copy()
    conditions["at"] = _instants(conditions["onset"])
    active = conditions[conditions["clinical_status"].isin(ACTIVE)]
    stays["conditions_active"] = _distinct_codes(stays, active, None)
    stays["conditions_12m"] = _distinct_codes(stays, conditions, _A_YEAR)
    frame = stays[[*STAY, *FEATURES, OUTCOME]]
    return frame.astype(dict.fromkeys(FEATURES, float))


def latest_stays(frame: pd.DataFrame) -> pd.DataFrame:
    """Return each patient's latest acute stay."""
    return frame.sort_values("ended").groupby("patient_id", sort=True).tail(1)


def _instants(texts: pd.Series[str]) -> pd.Series[pd.Timestamp]:
    return pd.to_datetime(texts, utc=True, format="ISO8601", errors="coerce")


def _stay_numbers(acute: pd.DataFrame) -> pd.Series[int]:
    # As numbers: pandas has no running maximum of instants within groups.
    ends = acute["ended"].astype("int64")
    ended_before = ends.groupby(acute["patient_id"]).cummax().groupby(acute["patient_id"]).shift()
    begins = ~(acute["started"].astype("int64") <= ended_before)
    return begins.astype(int).groupby(acute["patient_id"]).cumsum()


def _count_before(
    stays: pd.DataFrame, events: pd.DataFrame, within: pd.Timedelta
) -> pd.Series[float]:
    """Count a patient's events in the time before the admission."""
    pairs = stays[["patient_id", "started"]].reset_index().merge(events, on="patient_id")
    before = pairs[(pairs["at"] < pairs["started"]) & (pairs["at"] >= pairs["started"] - within)]
    return before.groupby("index").size().reindex(stays.index, fill_value=0).astype(float)


def _distinct_codes(
    stays: pd.DataFrame, conditions: pd.DataFrame, within: pd.Timedelta | None
) -> pd.Series[float]:
    """Count the different codes recorded up to the discharge."""
    pairs = stays[["patient_id", "ended"]].reset_index().merge(conditions, on="patient_id")
    known = pairs["at"] <= pairs["ended"]
    if within is not None:
        known &= pairs["at"] >= pairs["ended"] - within
    counts = pairs[known].groupby("index")["code"].nunique()
    return counts.reindex(stays.index, fill_value=0).astype(float)
