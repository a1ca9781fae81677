"""Training: a task's frame from gold, its evaluation, one MLflow run, a new signed version."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import pandas as pd

from ehr_etl.gold.delta_views import run_research_view
from ehr_etl.gold.library import list_view_names
from ehr_etl.lake import Lake, gold_table_name
from ehr_fhir.errors import Unavailable
from ehr_models import tracking
from ehr_models.evaluate import Evaluation, cross_validate
from ehr_models.evaluation.bootstrap import RESAMPLES, Interval
from ehr_models.evaluation.performance import Performance
from ehr_models.frames.declaration import find_exact_view
from ehr_models.frames.feature_list import write_features
from ehr_models.imports.import_store import read_import
from ehr_models.imports.imported_task import apply_import
from ehr_models.learners.portable import PortableModel, write_model
from ehr_models.learners.tuning import Rows, fit_best
from ehr_models.model_store import ModelStore, ModelVersion
from ehr_models.report.contents import publish
from ehr_models.report.verdicts import tell_verdict
from ehr_models.task import Task, Views
from ehr_models.version_files import SUMMARY_FILE, TRAINER_FILE, write_trainer
from ehr_models.version_report import (
    REFIT_RESAMPLES,
    TrainingFacts,
    VersionReport,
    write_version_report,
)
from ehr_models.watch import PROFILE_FILE, build_profile

_LOGGED = ("auroc", "auprc", "average_precision", "brier", "scaled_brier")


@dataclass(frozen=True)
class GoldTables:
    """The tables a model learns from, and the version of each: Delta's number, or a digest."""

    views: Views
    versions: Mapping[str, int | str]


@dataclass(frozen=True)
class Training:
    """A finished training run: the signed version, its evaluation and its report."""

    version: ModelVersion
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
            table.to_pyarrow_table() if is_own else run_research_view(lake, find_exact_view(name))
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
    trainer: Collection[str] = (),
) -> Training:
    """Train and evaluate a model, log the run, and save a signed version, which scores nobody yet.

    `is_synthetic` says that a generator made the data: a high figure is then suspected of leakage.
    `trainer` has the names of all accounts of who trains; without them nobody may promote it.
    """
    started = time.monotonic()
    frame = task.build_frame(gold.views)
    evaluation = cross_validate(task, frame, resamples)
    rows = Rows.of_frame(frame)
    model = fit_best(task.learners, rows)
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
        version = ModelStore(data).save_version(
            task.name,
            {
                **write_model(model),
                **write_features(frame),
                **{name: text.encode() for name, text in report.files.items()},
                **_describe(task, evaluation, model, rows),
                **({TRAINER_FILE: write_trainer(trainer)} if trainer else {}),
            },
            now,
        )
        tracking.log_version(mlflow, version)
    return Training(
        version=version,
        run=run.info.run_id,
        evaluation=evaluation,
        report=report,
        features=frame.feature_names,
        seconds=time.monotonic() - started,
    )


def _describe(
    task: Task, evaluation: Evaluation, model: PortableModel, rows: Rows
) -> Mapping[str, bytes]:
    """Return what lists show of a version, and the profile that it is watched by."""
    results = [
        {
            "predictor": name,
            "metric": metric,
            **{side: round(getattr(found, side), 4) for side in ("value", "low", "high")},
        }
        for name, performance in evaluation.performance.items()
        for metric, found in _list_shown(performance).items()
        if all(map(math.isfinite, (found.value, found.low, found.high)))
    ]
    summary = {
        "title": {"en": task.title},
        "grade": evaluation.grade,
        "verdict": tell_verdict(evaluation),
        "results": results,
    }
    inputs = pd.DataFrame(rows.inputs, columns=list(rows.features))
    profile = build_profile(inputs, model.predict(rows.inputs), rows.people)
    return {
        SUMMARY_FILE: json.dumps(summary, ensure_ascii=False, indent=1).encode(),
        PROFILE_FILE: json.dumps(profile.to_json(), indent=1).encode(),
    }


def _list_shown(performance: Performance) -> Mapping[str, Interval]:
    return {
        "auroc": performance.auroc,
        "auprc": performance.auprc,
        "brier": performance.brier,
        "slope": performance.calibration.slope,
    }


def hash_code() -> str:
    """Return the SHA-256 of this package's code and of its tasks' files."""
    package = Path(str(files(__package__)))
    digest = hashlib.sha256()
    for path in sorted(p for kind in ("py", "toml", "sql") for p in package.rglob(f"*.{kind}")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _flatten_metrics(evaluation: Evaluation) -> dict[str, float]:
    counts = (
        ("stays", evaluation.stays),
        ("people", evaluation.people),
        ("outcomes", evaluation.outcomes),
    )
    # As the report has them; none of few people.
    metrics: dict[str, float] = {
        name: shown for name, count in counts if (shown := publish(count)) is not None
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
