"""The files that tell of a model version: report, pages, card, gates; made when it is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ehr_models.evaluate import MODEL, PREVALENCE, Evaluation, build_frame_sample
from ehr_models.evaluation.gates import judge_gates
from ehr_models.evaluation.refits import Predict
from ehr_models.evaluation.refitted import evaluate_refits
from ehr_models.evaluation.sample import FloatArray, IntArray
from ehr_models.frames.feature_list import measure_missing
from ehr_models.learners.tuning import LEARNERS, Rows, fit_best
from ehr_models.report.card import build_card, build_document_reference, write_markdown
from ehr_models.report.card_text import parse_card_text
from ehr_models.report.contents import FeatureFacts, ModelFacts, build_report
from ehr_models.report.messages import LANGUAGES
from ehr_models.report.page import render_card, render_report
from ehr_models.task import Frame, Task
from ehr_models.version_files import GATES_FILE, GateResult, write_gates

REPORT_FILE, CARD_FILE = "report.json", "model-card.md"
# Of what is beside the out-of-fold figures. Chosen: a fifth of the time of a thousand each.
REFIT_RESAMPLES = 200


@dataclass(frozen=True)
class TrainingFacts:
    """What is known of a training run when its report is written."""

    trained_at: datetime
    run: str
    code: str
    # Delta version, or digest, by table.
    tables: Mapping[str, int | str]
    # Name of the learner that was chosen.
    learner: str
    is_synthetic: bool


@dataclass(frozen=True)
class VersionReport:
    """The report, how the gates were judged, and all files by name."""

    report: Mapping[str, Any]
    gates: tuple[GateResult, ...]
    files: Mapping[str, str]


def list_report_files() -> tuple[str, ...]:
    """Return the names of the files that every version has."""
    pages = (f"report.{language}.html" for language in LANGUAGES)
    return (REPORT_FILE, *pages, CARD_FILE, "card.json", "card.html", "card.fhir.json", GATES_FILE)


def write_version_report(
    task: Task,
    frame: Frame,
    evaluation: Evaluation,
    training: TrainingFacts,
    *,
    resamples: int = REFIT_RESAMPLES,
    on_progress: Callable[[str], None] = lambda text: None,
) -> VersionReport:
    """Evaluate what needs the learners fitted anew, judge the gates, and write every file."""
    labelled = frame.select_labelled()
    with threadpool_limits(1):
        refitted = evaluate_refits(
            labelled.rows[frame.feature_names],
            build_frame_sample(frame),
            lambda features, outcome, people: _fit(task, features, outcome, people),
            horizon=pd.Timedelta(task.outcome.horizon),
            resamples=resamples,
            on_progress=on_progress,
        )
    is_synthetic = training.is_synthetic
    gates = judge_gates(evaluation.figures, refitted, task.gates, is_synthetic=is_synthetic)
    facts = _describe(task, labelled, evaluation, training)
    report = build_report(facts, evaluation.figures, refitted, gates)
    card = build_card(report)
    document = build_document_reference(card, training.trained_at)
    pages = {f"report.{language}.html": render_report(report, language) for language in LANGUAGES}
    files = {
        REPORT_FILE: _to_json(report),
        **pages,
        CARD_FILE: write_markdown(card),
        "card.json": _to_json(card),
        "card.html": render_card(card),
        "card.fhir.json": _to_json(document),
        GATES_FILE: write_gates(gates).decode(),
    }
    return VersionReport(report, gates, files)


def _fit(task: Task, features: pd.DataFrame, outcome: FloatArray, people: IntArray) -> Predict:
    rows = Rows(tuple(features.columns), features.to_numpy(dtype=float), outcome, people)
    model = fit_best(task.learners, rows)
    return lambda others: model.predict(others.to_numpy(dtype=float))


def _describe(
    task: Task, labelled: Frame, evaluation: Evaluation, training: TrainingFacts
) -> ModelFacts:
    titles = {MODEL: "This model", PREVALENCE: "Prevalence alone"}
    titles |= {name: _capitalize(LEARNERS[name].title) for name in task.learners}
    titles |= {each.name: f"{each.title} (recalibrated)" for each in task.comparators}
    missing = measure_missing(labelled)
    return ModelFacts(
        name=task.name,
        title=task.title,
        # Its number is given when it is registered, which is after this is written.
        version=f"{training.trained_at:%Y-%m-%d %H:%M}",
        outcome=task.outcome.text,
        horizon_days=task.outcome.horizon.total_seconds() / 86_400,
        learner=LEARNERS[training.learner].title,
        trained_at=training.trained_at.date().isoformat(),
        run=training.run,
        code=training.code,
        is_synthetic=training.is_synthetic,
        predictors=titles,
        tables=training.tables,
        features=[
            FeatureFacts(each.name, each.title, each.unit, each.source, missing[each.name])
            for each in labelled.features
        ],
        folds=evaluation.folds,
        texts=parse_card_text(task.card_text),
    )


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)


def _capitalize(title: str) -> str:
    return title[:1].upper() + title[1:]
