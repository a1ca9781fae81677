"""Training: features from gold, evaluation beside the baselines, one MLflow run, a new champion."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import pandas as pd
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from ehr_fhir.errors import Unavailable
from ehr_models import plots, tracking
from ehr_models.card import card
from ehr_models.evaluate import Evaluation, evaluate, pipeline, rounded
from ehr_models.tasks.readmission.features import FEATURES, OUTCOME, Views, features

VIEWS = ("patient_demographics", "encounter_flat", "condition_flat")


@dataclass(frozen=True)
class Gold:
    """The gold tables a model learns from, and the Delta version of each."""

    views: Views
    versions: Mapping[str, int]


@dataclass(frozen=True)
class Training:
    """What a training run made."""

    version: str
    run: str
    evaluation: Evaluation
    card: str
    seconds: float


def read_gold(data: Path) -> Gold:
    """Read the de-identified views of the lake, without Spark."""
    views: dict[str, pd.DataFrame] = {}
    versions = {}
    for name in VIEWS:
        try:
            table = DeltaTable(data / "lake" / "gold" / name)
        except TableNotFoundError as error:
            raise Unavailable(f"The lake has no view {name} yet: run `ehr lake run`.") from error
        views[name] = table.to_pandas()
        versions[name] = table.version()
    return Gold(views, versions)


def train(gold: Gold, data: Path, now: datetime) -> Training:
    """Train, evaluate, log and register the model; the new version becomes the champion."""
    started = time.monotonic()
    frame = features(gold.views)
    evaluation = evaluate(frame)
    known = frame[frame[OUTCOME].notna()]
    model = pipeline().fit(known[list(FEATURES)], known[OUTCOME])
    code = code_digest()

    mlflow = tracking.open_store(data)
    with mlflow.start_run(run_name=f"train {now:%Y-%m-%d %H:%M}") as run:
        text = card(
            evaluation,
            trained_at=now.date().isoformat(),
            tables=gold.versions,
            code=code,
            run=run.info.run_id,
        )
        tables = {f"table.{name}": number for name, number in gold.versions.items()}
        mlflow.log_params({"features": " ".join(FEATURES), "folds": evaluation.folds, **tables})
        mlflow.set_tags({"code.sha256": code, "verdict": evaluation.verdict})
        mlflow.log_metrics(_metrics(evaluation))
        mlflow.log_text(text, "model-card.md")
        note = f"{rounded(evaluation.outcomes)} returns in {rounded(evaluation.stays)} stays"
        mlflow.log_figure(plots.roc(evaluation.predictions, note), "roc.png")
        mlflow.log_figure(plots.calibration(evaluation.predictions, note), "calibration.png")
        registered = tracking.register(mlflow, model, known)
    return Training(
        version=registered.version,
        run=registered.run,
        evaluation=evaluation,
        card=text,
        seconds=time.monotonic() - started,
    )


def code_digest() -> str:
    """Return the digest of the code that trains."""
    package = Path(str(files(__package__)))
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    metrics: dict[str, float] = {
        "stays": evaluation.stays,
        "people": evaluation.people,
        "outcomes": evaluation.outcomes,
    }
    for name, performance in evaluation.performance.items():
        for measure in ("auroc", "auprc", "brier"):
            interval = getattr(performance, measure)
            metrics[f"{name}.{measure}"] = interval.value
            metrics[f"{name}.{measure}.low"] = interval.low
            metrics[f"{name}.{measure}.high"] = interval.high
    return {name: value for name, value in metrics.items() if value == value}
