"""A second, fictional task for tests: is the stay longer than a week? Known at admission: age."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd

from ehr_models.gate_limits import GateLimits
from ehr_models.task import Feature, Frame, Outcome, Task, Views

VIEWS = ("encounter_flat", "patient_demographics")


def build_frame(views: Views) -> Frame:
    """Return one row per encounter with the patient's age and whether it lasted a week."""
    encounters, people = (_to_pandas(views[name]) for name in VIEWS)
    people = people.set_index("id")
    started = pd.to_datetime(encounters["start"], utc=True)
    ended = pd.to_datetime(encounters["end"], utc=True)
    born = encounters["patient_id"].map(people["birth_year"])
    rows = pd.DataFrame(
        {
            "patient_id": encounters["patient_id"],
            "encounter_id": encounters["id"],
            "ended": ended,
            "age": (started.dt.year - born).astype(float),
            "long": ((ended - started) > timedelta(days=7)).astype(float),
        }
    )
    return Frame(rows, (Feature("age", "Age", "a", "patient_demographics"),), "long")


def _to_pandas(table: Any) -> pd.DataFrame:  # Any: as of Views
    frame: pd.DataFrame = table if isinstance(table, pd.DataFrame) else table.to_pandas()
    return frame


TASK = Task(
    name="long-stay",
    title="Stay of more than a week",
    views=VIEWS,
    target="long",
    outcome=Outcome(
        code="long-stay",
        text="Stay of more than a week",
        horizon=timedelta(days=7),
        plural="long stays",
        phrase="stayed long",
    ),
    learners=("logistic",),
    comparators=(),
    gates=GateLimits(minimum_outcomes=10),
    build_frame=build_frame,
    card_text="## Summary\nWho stays long.\n",
)
