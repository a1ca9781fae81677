"""Acute stays and returns in plain pandas: what the cohort language's answers are held against."""

from __future__ import annotations

import pandas as pd

RETURN_WITHIN = pd.Timedelta(days=28)


def list_acute_stays(encounters: pd.DataFrame) -> pd.DataFrame:
    """Return one row per acute stay: patient_id, encounter_id, started, ended, returned.

    Encounters that overlap or touch are one stay. `returned` is missing where the 28 days do not
    lie within the data.
    """
    acute = encounters[encounters["class"].isin(["IMP", "EMER"])].copy()
    acute["started"] = pd.to_datetime(acute["start"], utc=True, format="ISO8601")
    acute["ended"] = pd.to_datetime(acute["end"], utc=True, format="ISO8601")
    acute = acute.dropna(subset=["started", "ended"])
    acute = acute.sort_values(["patient_id", "started", "ended"], kind="stable")
    # As numbers: pandas has no running maximum of instants within groups.
    ends = acute["ended"].astype("int64")
    latest = ends.groupby(acute["patient_id"]).cummax().groupby(acute["patient_id"]).shift()
    is_new = ~(acute["started"].astype("int64") <= latest)
    acute["stay"] = is_new.astype(int).groupby(acute["patient_id"]).cumsum()
    stays = (
        acute.groupby(["patient_id", "stay"], sort=True)
        .agg(
            encounter_id=("id", "last"),
            started=("started", "min"),
            ended=("ended", "max"),
        )
        .reset_index()
    )
    next_started = stays.groupby("patient_id")["started"].shift(-1)
    deadline = stays["ended"] + RETURN_WITHIN
    is_known = deadline <= stays["started"].max()
    stays["returned"] = (next_started <= deadline).astype(float).where(is_known)
    return stays
