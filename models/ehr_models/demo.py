"""The model's whole way once: learn from gold, register, score the identified views, write back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from ehr_models import score, tracking
from ehr_models.intervals import Performance
from ehr_models.train import read_gold, train


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
    spark: SparkSession,
    data: Path,
    identified_views: Mapping[str, DataFrame | pd.DataFrame],
    client: score.Poster,
    token: str,
    *,
    now: datetime | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> ModelReport:
    """Train the readmission model and write each patient's risk back to the gateway.

    `spark` is the session in which the identified views live: it must be alive, no more.
    """
    now = now or datetime.now(UTC)
    on_progress("model learns from the de-identified tables")
    training = train(read_gold(data), data, now)
    on_progress("latest acute stays are scored and written back")
    started = time.monotonic()
    sent = score_champion(data, identified_views, client, token, now)
    return ModelReport(
        version=training.version,
        run=training.run,
        stays=training.evaluation.stays,
        people=training.evaluation.people,
        outcomes=training.evaluation.outcomes,
        performance=training.evaluation.performance,
        verdict=training.evaluation.verdict,
        scored=sent.accepted,
        refused=sent.refused,
        refusal=sent.reason,
        train_seconds=training.seconds,
        score_seconds=time.monotonic() - started,
    )


def score_champion(
    data: Path,
    identified_views: Mapping[str, DataFrame | pd.DataFrame],
    client: score.Poster,
    token: str,
    now: datetime,
) -> score.Sent:
    """Score with the registered champion and write the assessments back."""
    mlflow = tracking.open_store(data)
    registered = tracking.champion(mlflow)
    model = tracking.load(mlflow, registered)
    views = {name: _pandas(frame) for name, frame in identified_views.items()}
    scores = score.score(model, views)
    verdict = str(mlflow.get_run(registered.run).data.tags.get("verdict", ""))
    return score.send_all(client, token, scores, registered.version, now, verdict)


def _pandas(frame: DataFrame | pd.DataFrame) -> pd.DataFrame:
    return frame if isinstance(frame, pd.DataFrame) else frame.toPandas()
