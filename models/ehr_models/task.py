"""A prediction task: the declaration that training, evaluation, model card and scoring read.

The general modules of this package take a `Task` and know none by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ehr_models.gate_limits import GateLimits

# Tables by name, as pandas or Arrow has them (pyarrow ships no types).
Views = Mapping[str, Any]

# The columns of every task's frame beside its features and its target: whose row it is, which
# encounter it is about, and the instant at which the prediction is made.
PATIENT, ENCOUNTER, PREDICTED_AT = "patient_id", "encounter_id", "ended"
# The day on which the next event like the row's own began, if one has (NaT): who is in care again
# is not scored for what was before.
BEGUN_AGAIN = "begun_again"
# What was wrong with a row's input, in words, one after the other; empty where nothing was.
INCOMPLETE = "incomplete"
# Columns by which an evaluation tells groups of people apart begin so.
GROUP_PREFIX = "group_"
# The view of Patients, which scoring reads of every task: it tells who lives.
PEOPLE_VIEW = "patient_demographics"


@dataclass(frozen=True)
class Feature:
    """A column that a model learns from: its unit (UCUM; `1` for a count or a share), its source.

    A feature is always a float, NaN where it is not known.
    """

    name: str
    title: str
    unit: str
    source: str


@dataclass(frozen=True)
class Frame:
    """One row per prediction: the columns above, the features in order, groups, and the target.

    The target is 1, 0, or NaN where the outcome is not known yet. `codes` are those of which there
    are features, by their group: who scores with a model gives them back to `Task.build_frame`.
    """

    rows: pd.DataFrame
    features: tuple[Feature, ...]
    target: str
    codes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # Whose rows were left out, as of index dates before a day.
    earlier: frozenset[str] = frozenset()

    @property
    def feature_names(self) -> list[str]:
        """Return the names of the features, in the order in which a model takes them."""
        return [feature.name for feature in self.features]

    @property
    def groups(self) -> list[str]:
        """Return the names of the columns of groups."""
        return [name for name in self.rows.columns if name.startswith(GROUP_PREFIX)]

    def select_labelled(self) -> Frame:
        """Keep the rows whose outcome is known."""
        return replace(self, rows=self.rows[self.rows[self.target].notna()])


@dataclass(frozen=True)
class PersonRow:
    """The features of one person's latest index event: its encounter, and when it ended."""

    encounter: str
    ended: datetime
    features: npt.NDArray[np.float64]
    # What was wrong with the input, in words.
    incomplete: tuple[str, ...] = ()
    # How many codes of the record are none that the model has a feature of.
    unknown_codes: int = 0


@dataclass(frozen=True)
class Comparator:
    """A published score that the model must beat: points per row, from the task's features."""

    name: str
    title: str
    compute_points: Callable[[pd.DataFrame], pd.Series[float]]


@dataclass(frozen=True)
class Outcome:
    """What is predicted: the code in the RiskAssessment, the horizon, and the words for it."""

    code: str
    text: str
    horizon: timedelta
    # "12 returns", "3 people returned within 28 days".
    plural: str
    phrase: str


@dataclass(frozen=True)
class Task:
    """One model and all that is particular to it.

    `build_frame` turns tables into a frame, with features of the codes that many people of the
    tables have; given a frame's `codes` by that name, with features of those. A task of a file is
    read by `ehr_models.task_file`.
    """

    name: str
    title: str
    views: tuple[str, ...]
    target: str
    outcome: Outcome
    # By their names in `learners.tuning`; the one that does best on people held out is the model.
    learners: tuple[str, ...]
    comparators: tuple[Comparator, ...]
    # What must hold before the figures count as more than a demonstration.
    gates: GateLimits
    build_frame: Callable[..., Frame]
    # Markdown whose headings name the paragraphs of the model card (`report.card_text`).
    card_text: str
    # Those that the task's file declares by name; a frame may have more.
    feature_names: tuple[str, ...] = ()
    # The row of one person's resources at an instant, with a model's codes; None where no file
    # declares the frame.
    find_current: Callable[..., PersonRow | None] | None = None
    # `build_frame` with the rows `since` a day alone, for scoring; None where no file declares it.
    build_recent_frame: Callable[..., Frame] | None = None
    # Of a task that needs what de-identification takes away: reads its tables in the trusted zone,
    # from the platform's data folder. None: it learns from the de-identified views.
    read_identified: Callable[[Path], Views] | None = None
    # Whether each patient's current row is scored and written back as a RiskAssessment.
    is_scored_in_batches: bool = True


def to_arrow(table: Any) -> pa.Table:  # Any: as of Views
    """Return a table as Arrow has it."""
    if isinstance(table, pd.DataFrame):
        return pa.Table.from_pandas(table, preserve_index=False)
    return table


def select_current(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each patient's latest of some rows of a frame."""
    return rows.sort_values(PREDICTED_AT, kind="stable").groupby(PATIENT, sort=True).tail(1)
