"""A model's whole way once: learn from gold, register, score the identified views, write back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from ehr_models import tracking
from ehr_models.intervals import Performance
from ehr_models.risk_assessments import ScoringRun
from ehr_models.score import predict_current
from ehr_models.task import Task
from ehr_models.train import read_gold, train_model
from ehr_models.write_back import HttpClient, WriteBackReport, send_predictions

IdentifiedViews = Mapping[str, DataFrame | pd.DataFrame]


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
    scored: int
    refused: int
    refusal: str | None
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
    now: datetime | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> ModelReport:
    """Train a task's model and write each patient's risk back to the gateway.

    `spark` is the session in which the identified views live: it must be alive, no more.
    """
    now = now or datetime.now(UTC)
    on_progress("model learns from the de-identified tables")
    training = train_model(task, read_gold(task, data), data, now)
    on_progress("latest acute stays are scored and written back")
    started = time.monotonic()
    report = score_with_champion(task, data, identified_views, client, token, now)
    return ModelReport(
        version=training.version,
        run=training.run,
        stays=training.evaluation.stays,
        people=training.evaluation.people,
        outcomes=training.evaluation.outcomes,
        performance=training.evaluation.performance,
        verdict=training.evaluation.verdict,
        scored=report.accepted,
        refused=report.refused,
        refusal=report.reason,
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
) -> WriteBackReport:
    """Score with a task's registered champion and write the assessments back."""
    mlflow = tracking.open_store(task, data)
    registered = tracking.get_champion(mlflow, task)
    model = tracking.load_model(mlflow, registered)
    views = {name: _to_pandas(identified_views[name]) for name in task.views}
    result = tracking.read_evaluation(mlflow, registered)
    run = ScoringRun(task, registered.version, now, note=result.verdict, grade=result.grade)
    return send_predictions(client, token, run, predict_current(task, model, views))


def _to_pandas(frame: DataFrame | pd.DataFrame) -> pd.DataFrame:
    return frame if isinstance(frame, pd.DataFrame) else frame.toPandas()
