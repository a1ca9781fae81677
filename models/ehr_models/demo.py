"""A model's whole way once: learn from gold, register, score the identified views, write back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from ehr_models import tracking
from ehr_models.intervals import Performance
from ehr_models.risk_assessments import ScoringRun
from ehr_models.score import find_reference_instant, predict_current
from ehr_models.scored_people import ScoredPeople
from ehr_models.task import PEOPLE_VIEW, Task
from ehr_models.train import read_gold, train_model
from ehr_models.write_back import HttpClient, send_predictions

IdentifiedViews = Mapping[str, DataFrame | pd.DataFrame]


@dataclass(frozen=True)
class ScoringReport:
    """How many people a model was asked about, and what became of each, as of an instant."""

    as_of: datetime
    accepted: int
    refused: int
    # Why the gateway refused the last one.
    reason: str | None
    not_joined: int
    not_living: int
    outside_window: int

    def explain_left_out(self, task: Task) -> str:
        """Say in one sentence who was not scored, and why."""
        days = task.outcome.horizon.days
        return (
            f"Not scored: {self.not_joined} people who have not joined or have left, "
            f"{self.not_living} who have died, {self.outside_window} with nothing to predict in "
            f"the {days} days before."
        )


@dataclass(frozen=True)
class ModelReport:
    """What was learnt, how good it is, and what was written back."""

    version: str
    run: str
    stays: int
    people: int
    outcomes: int
    performance: Mapping[str, Performance]
    verdict: str
    scoring: ScoringReport
    train_seconds: float
    score_seconds: float


def train_and_score(
    task: Task,
    spark: SparkSession,
    data: Path,
    identified_views: IdentifiedViews,
    client: HttpClient,
    token: str,
    *,
    people: ScoredPeople,
    as_of: date | None = None,
    now: datetime | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> ModelReport:
    """Train a task's model and write each patient's risk back to the gateway.

    `spark` is the session in which the identified views live: it must be alive, no more.
    """
    now = now or datetime.now(UTC)
    on_progress("model learns from the de-identified tables")
    training = train_model(task, read_gold(task, data), data, now)
    on_progress("people who just left acute care are scored, and the risks written back")
    started = time.monotonic()
    scoring = score_with_champion(
        task, data, identified_views, client, token, now, people=people, as_of=as_of
    )
    return ModelReport(
        version=training.version,
        run=training.run,
        stays=training.evaluation.stays,
        people=training.evaluation.people,
        outcomes=training.evaluation.outcomes,
        performance=training.evaluation.performance,
        verdict=training.evaluation.verdict,
        scoring=scoring,
        train_seconds=training.seconds,
        score_seconds=time.monotonic() - started,
    )


def score_with_champion(
    task: Task,
    data: Path,
    identified_views: IdentifiedViews,
    client: HttpClient,
    token: str,
    now: datetime,
    *,
    people: ScoredPeople,
    as_of: date | None = None,
) -> ScoringReport:
    """Score with a task's registered champion and write the assessments back.

    `people` are those who may be scored. As of a day that was, what ended later is not known, and
    each assessment says so; without `as_of` it is now.
    """
    instant = now if as_of is None else find_reference_instant(as_of, now)
    mlflow = tracking.open_store(task, data)
    registered = tracking.get_champion(mlflow, task)
    model = tracking.load_model(mlflow, registered)
    names = dict.fromkeys((*task.views, PEOPLE_VIEW))
    views = {name: _to_pandas(identified_views[name]) for name in names}
    predictions = predict_current(task, model, people.select_rows(views), instant)
    result = tracking.read_evaluation(mlflow, registered)
    run = ScoringRun(
        task, registered.version, now, note=result.verdict, grade=result.grade, as_of=as_of
    )
    report = send_predictions(client, token, run, predictions.current)
    return ScoringReport(
        as_of=instant,
        accepted=report.accepted,
        refused=report.refused,
        reason=report.reason,
        not_joined=people.count_left_out(views),
        not_living=predictions.not_living,
        outside_window=predictions.outside_window,
    )


def _to_pandas(frame: DataFrame | pd.DataFrame) -> pd.DataFrame:
    return frame if isinstance(frame, pd.DataFrame) else frame.toPandas()
