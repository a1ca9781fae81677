"""Training: a task's frame from gold, its evaluation, one MLflow run, a new champion."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from ehr_etl.gold.delta_views import run_research_view
from ehr_etl.gold.library import list_view_names
from ehr_etl.lake import Lake, gold_table_name
from ehr_fhir.errors import Unavailable
from ehr_models import tracking
from ehr_models.evaluate import Evaluation, cross_validate
from ehr_models.evaluation.bootstrap import RESAMPLES
from ehr_models.frames.declaration import find_view
from ehr_models.frames.feature_list import write_features
from ehr_models.imports.import_store import read_import
from ehr_models.imports.imported_task import apply_import
from ehr_models.learners.portable import write_model
from ehr_models.learners.tuning import Rows, choose_model, fit_learners
from ehr_models.task import Task, Views
from ehr_models.version_report import (
    REFIT_RESAMPLES,
    TrainingFacts,
    VersionReport,
    write_version_report,
)

_LOGGED = ("auroc", "auprc", "average_precision", "brier", "scaled_brier")


@dataclass(frozen=True)
class GoldTables:
    """The tables a model learns from, and the version of each: Delta's number, or a digest."""

    views: Views
    versions: Mapping[str, int | str]


@dataclass(frozen=True)
class Training:
    """A finished training run: the registered version, its evaluation and its report."""

    version: str
    run: str
    evaluation: Evaluation
    report: VersionReport
    features: list[str]
    seconds: float


def read_gold(task: Task, data: Path) -> GoldTables:
    """Read a task's de-identified views from the lake, without Spark.

    Of a task that needs identified records: its tables, and the version of the lake's records.
    """
    lake = Lake(data / "lake")
    if task.read_identified is not None:
        views = task.read_identified(data)
        return GoldTables(views, {"silver": int(lake.open_table("silver").version())})
    views = {}
    versions = {}
    for name in task.views:
        is_own = name in list_view_names()
        table_name = gold_table_name(name) if is_own else "deid"
        if not lake.has_table(table_name):
            raise Unavailable(f"The lake has no view {name} yet: run `ehr lake run`.")
        table = lake.open_table(table_name)
        # A view of the library need not have a table: it is run over the records of research.
        views[name] = (
            table.to_pyarrow_table() if is_own else run_research_view(lake, find_view(name))
        )
        versions[name if is_own else f"deid for {name}"] = int(table.version())
    return GoldTables(views, versions)


def read_task_data(task: Task, data: Path, source: str | None = None) -> tuple[Task, GoldTables]:
    """Return a task and its tables: those of the lake, or the task over an import of that name."""
    if source is None:
        return task, read_gold(task, data)
    imported = apply_import(task, read_import(data, source))
    return imported.task, GoldTables(imported.views, imported.versions)


def train_model(
    task: Task,
    gold: GoldTables,
    data: Path,
    now: datetime,
    *,
    is_synthetic: bool = False,
    resamples: int = RESAMPLES,
) -> Training:
    """Train, evaluate, log and register a model; the new version becomes the champion.

    `is_synthetic` says that a generator made the data: a high figure is then suspected of leakage.
    """
    started = time.monotonic()
    frame = task.build_frame(gold.views)
    evaluation = cross_validate(task, frame, resamples)
    rows = Rows.of_frame(frame)
    model = choose_model(fit_learners(task.learners, rows))
    code = hash_code()

    mlflow = tracking.open_store(task, data)
    with mlflow.start_run(run_name=f"train {now:%Y-%m-%d %H:%M}") as run:
        report = write_version_report(
            task,
            frame,
            evaluation,
            TrainingFacts(
                trained_at=now,
                run=run.info.run_id,
                code=code,
                tables=gold.versions,
                learner=model.kind,
                is_synthetic=is_synthetic,
            ),
            resamples=min(resamples, REFIT_RESAMPLES),
        )
        tables = {
            f"table.{name.replace(' ', '.')}": number for name, number in gold.versions.items()
        }
        mlflow.log_params({"features": len(frame.features), "folds": evaluation.folds, **tables})
        mlflow.set_tags(
            {
                "code.sha256": code,
                "learner": model.kind,
                "verdict": evaluation.verdict,
                "grade": evaluation.grade,
            }
        )
        mlflow.log_metrics(_flatten_metrics(evaluation))
        for name, text in report.files.items():
            mlflow.log_text(text, name)
        registered = tracking.register_model(
            mlflow, task, {**write_model(model), **write_features(frame)}
        )
    return Training(
        version=registered.version,
        run=registered.run,
        evaluation=evaluation,
        report=report,
        features=frame.feature_names,
        seconds=time.monotonic() - started,
    )


def hash_code() -> str:
    """Return the SHA-256 of this package's code and of its tasks' files."""
    package = Path(str(files(__package__)))
    digest = hashlib.sha256()
    for path in sorted(p for kind in ("py", "toml", "sql") for p in package.rglob(f"*.{kind}")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _flatten_metrics(evaluation: Evaluation) -> dict[str, float]:
    metrics: dict[str, float] = {
        "stays": evaluation.stays,
        "people": evaluation.people,
        "outcomes": evaluation.outcomes,
    }
    for name, performance in evaluation.performance.items():
        intervals = {
            **{metric: getattr(performance, metric) for metric in _LOGGED},
            "calibration_slope": performance.calibration.slope,
            "calibration_in_the_large": performance.calibration.in_the_large,
        }
        for metric, interval in intervals.items():
            metrics[f"{name}.{metric}"] = interval.value
            metrics[f"{name}.{metric}.low"] = interval.low
            metrics[f"{name}.{metric}.high"] = interval.high
    # NaN: one class was empty, there is nothing to log.
    return {name: value for name, value in metrics.items() if value == value}
