"""Deterioration on the ward: death or intensive care within 24 hours of a round of signs."""

from __future__ import annotations

import time
from importlib.resources import files
from pathlib import Path

import pandas as pd

from ehr_etl.lake import Lake
from ehr_fhir.errors import NotFound
from ehr_models.gate_limits import GateLimits
from ehr_models.task import Comparator, Frame, Outcome, Task, Views
from ehr_models.ward.lake import read_ward
from ehr_models.ward.rounds import HORIZON, TARGET, build_rounds, list_features
from ehr_models.ward.tables import WardTables

TABLES = ("people", "stays", "measurements", "scales")


def build_frame(views: Views) -> Frame:
    """Return a row per round of the four tables."""
    rows = build_rounds(WardTables(*(views[name] for name in TABLES))).rows
    return Frame(rows, list_features(), TARGET)


def read_identified(data: Path) -> Views:
    """Return the four tables of the lake's records that research may use."""
    path = data / "keys" / "deid.key"
    if not path.exists():
        raise NotFound(f"{path} is missing: start `ehr up` once on this data folder.")
    ward = read_ward(Lake(data / "lake"), path.read_bytes(), int(time.time() * 1000))
    return {name: getattr(ward, name) for name in TABLES}


def _read_points(rows: pd.DataFrame) -> pd.Series[float]:
    """Return NEWS2; of an incomplete round its lower bound."""
    return rows["news2_at_least"]


TASK = Task(
    name="deterioration-24h",
    title="Deterioration on the ward within 24 hours of a round of signs",
    views=TABLES,
    target=TARGET,
    outcome=Outcome(
        code="deterioration-24h",
        text="Death or intensive care within 24 hours of a round of vital signs",
        horizon=HORIZON,
        plural="rounds followed by deterioration",
        phrase="deteriorated within 24 hours",
    ),
    learners=("logistic", "boosting"),
    comparators=(Comparator("news2", "NEWS2", _read_points),),
    # 100 events (Collins et al. 2016); some seven rounds of the day before each count.
    gates=GateLimits(minimum_outcomes=700),
    build_frame=build_frame,
    card_text=files(__package__).joinpath("card.md").read_text("utf-8"),
    read_identified=read_identified,
    # What it says holds for the hours after a round.
    is_scored_in_batches=False,
)
