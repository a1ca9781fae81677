"""A second, fictional task for tests: is the stay longer than a week? Known at admission: age."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from ehr_models.estimators import build_logistic_regression
from ehr_models.task import Gates, Outcome, Task, Views


def build_frame(views: Views) -> pd.DataFrame:
    """Return one row per encounter with the patient's age and whether it lasted a week."""
    encounters = views["encounter_flat"]
    people = views["patient_demographics"].set_index("id")
    started = pd.to_datetime(encounters["start"], utc=True)
    ended = pd.to_datetime(encounters["end"], utc=True)
    born = encounters["patient_id"].map(people["birth_year"])
    return pd.DataFrame(
        {
            "patient_id": encounters["patient_id"],
            "encounter_id": encounters["id"],
            "ended": ended,
            "age": (started.dt.year - born).astype(float),
            "long": ((ended - started) > timedelta(days=7)).astype(float),
        }
    )


def select_current(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep each patient's last row."""
    return frame.groupby("patient_id").tail(1)


TASK = Task(
    name="long-stay",
    title="Stay of more than a week",
    views=("patient_demographics", "encounter_flat"),
    features=("age",),
    target="long",
    outcome=Outcome(
        code="long-stay",
        text="Stay of more than a week",
        horizon=timedelta(days=7),
        plural="long stays",
        phrase="stayed long",
    ),
    model_name="age-only",
    model_title="logistic regression on age",
    comparators=(),
    gates=Gates(minimum_outcomes=10),
    build_frame=build_frame,
    select_current=select_current,
    build_estimator=build_logistic_regression,
    card_template="# Model card: long stay\n\n$verdict\n\n$performance\n",
)
