"""Outreach: emergency visit or fall within 90 days, of people of 65 and more at home."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

from ehr_models.gate_limits import GateLimits
from ehr_models.task import Comparator, Outcome, Task
from ehr_models.tasks.outreach.census import HORIZON, TARGET, VIEWS, build_census


def _count_emergencies(rows: pd.DataFrame) -> pd.Series[float]:
    """Return what a nurse would go by without a model."""
    return rows["emergencies_12m"]


TASK = Task(
    name="outreach-90d",
    title="Emergency visit or fall within 90 days, of people of 65 and more at home",
    views=VIEWS,
    target=TARGET,
    outcome=Outcome(
        code="outreach-90d",
        text="Emergency visit or fall within 90 days",
        horizon=HORIZON,
        plural="months followed by an emergency visit or a fall",
        phrase="had an emergency visit or a fall within 90 days",
    ),
    learners=("logistic", "boosting"),
    comparators=(
        Comparator("emergencies", "Emergency visits of the year before", _count_emergencies),
    ),
    # 100 outcomes (Collins et al. 2016); each is that of some three months.
    gates=GateLimits(minimum_outcomes=300),
    build_frame=build_census,
    card_text=files(__package__).joinpath("card.md").read_text("utf-8"),
    # A worklist is made instead, and nothing written about those on it.
    is_scored_in_batches=False,
)
