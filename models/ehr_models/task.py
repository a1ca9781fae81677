"""A prediction task: the declaration that training, evaluation, model card and scoring read.

The general modules of this package take a `Task` and know none by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import pandas as pd
from sklearn.pipeline import Pipeline

Views = Mapping[str, pd.DataFrame]

# The columns of every task's frame beside its features and its target: whose row it is, which
# encounter it is about, and the instant at which the prediction is made.
PATIENT, ENCOUNTER, PREDICTED_AT = "patient_id", "encounter_id", "ended"
# The view of Patients, which scoring reads of every task: it tells who lives.
PEOPLE_VIEW = "patient_demographics"


@dataclass(frozen=True)
class Comparator:
    """A published score that the model must beat: points per row, from the task's features."""

    name: str
    title: str
    compute_points: Callable[[pd.DataFrame], pd.Series[float]]


@dataclass(frozen=True)
class Gates:
    """What must hold before the figures count as more than a demonstration."""

    minimum_outcomes: int


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

    `build_frame` turns the views into one row per prediction: the columns above, `features` (all
    float) and `target` (1, 0, or missing where the outcome is not known yet).
    `select_current` keeps each patient's latest of some rows; scoring drops those whose horizon is
    over.
    """

    name: str
    title: str
    views: tuple[str, ...]
    features: tuple[str, ...]
    target: str
    outcome: Outcome
    model_name: str
    model_title: str
    comparators: tuple[Comparator, ...]
    gates: Gates
    build_frame: Callable[[Views], pd.DataFrame]
    select_current: Callable[[pd.DataFrame], pd.DataFrame]
    build_estimator: Callable[[], Pipeline]
    # Markdown with the places of string.Template that `card.write_card` fills.
    card_template: str
