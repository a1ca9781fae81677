"""Models on a data folder at each of their steps, their figures made up: no data were learnt from.

What the pages of models are looked at with: two versions of a task, one of which misses a gate,
weeks with alarms, a report page with every plot, and a forecast.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ehr_models.evaluation.evaluate import evaluate
from ehr_models.evaluation.gates import judge_gates
from ehr_models.evaluation.refitted import RefittedEvaluation
from ehr_models.evaluation.sample import build_sample
from ehr_models.forecasting.release import POLICY, control_rows
from ehr_models.gate_limits import GateLimits
from ehr_models.model_store import ModelStore
from ehr_models.report.card import build_card
from ehr_models.report.contents import FeatureFacts, ModelFacts, build_report
from ehr_models.report.messages import LANGUAGES
from ehr_models.report.page import render_card, render_report
from ehr_models.version_files import (
    GATES_FILE,
    TRAINER_FILE,
    GateResult,
    write_gates,
    write_trainer,
)
from ehr_models.watch import Alarm, Week

__all__ = ["TASK", "save_forecast", "save_made_models"]

TASK = "readmission-28d"
NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
_FEATURES = (
    FeatureFacts("age", "Age", "a", "patient_demographics", 0.0),
    FeatureFacts("emergency", "Came in as an emergency", "", "encounter_flat", 0.0),
    FeatureFacts("haemoglobin", "Haemoglobin at discharge", "g/dL", "observation_flat", 0.21),
)
_TITLE = "Return to acute care within 28 days"
_VERDICTS = {
    "en": "The model ranks better than LACE and HOSPITAL; its intervals are above theirs.",
    "zh-Hant-HK": "此模型的排序能力優於 LACE 及 HOSPITAL；差距的區間均高於零。",
    "zh-Hans": "此模型的排序能力优于 LACE 和 HOSPITAL；差距的区间均高于零。",
}
QUANTILES = {"q2.5": 0.025, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q97.5": 0.975}


def save_made_models(data: Path) -> ModelStore:
    """Save a task with two versions, the newer of which meets its gates, and a watch of it."""
    store = ModelStore(data)
    report = build_made_report()
    gates = [GateResult(**gate) for gate in report["gates"] if gate["gate"] != "membership"]
    attacks = {
        "limit": "0.55",
        "loss": "0.512 (0.489 – 0.535)",
        "likelihood-ratio": "0.507 (0.481 – 0.533)",
    }
    text = "AUROC of the attacks on who was learnt from: by loss 0.512; chance is 0.5."
    passed = [*gates, GateResult("membership", True, text, "membership", attacks)]
    few = "Fewer than 100 outcomes to judge by."
    missed = [GateResult("enough-outcomes", False, few, "outcomes-few", {"minimum": "100"})]
    store.save_version(TASK, _build_files(report, [*missed, *passed[1:]]), NOW - timedelta(days=30))
    store.save_version(TASK, _build_files(report, passed), NOW)
    store.save_watch(TASK, [week.to_json() for week in _make_weeks()])
    save_forecast(data, "attendances", "A&E attendances", passes=True)
    save_forecast(data, "beds", "Bed demand", passes=False)
    return store


def build_made_report() -> dict[str, Any]:
    """Return the report of a model that is a little better than two scores."""
    chance = np.random.default_rng(71)
    rows = 900
    inputs = chance.normal(size=(rows, 3))
    risk = 1 / (1 + np.exp(1.4 - inputs @ [0.7, 0.6, 0.4]))
    outcome = (chance.random(rows) < risk).astype(float)
    sample = build_sample(
        outcome,
        range(rows),
        groups={"sex": chance.choice(["female", "male"], rows)},
    )
    figures = {
        "model": risk,
        "lace": 1 / (1 + np.exp(1.3 - 0.6 * inputs[:, 0])),
        "hospital": 1 / (1 + np.exp(1.3 - 0.6 * inputs[:, 1])),
    }
    evaluation = evaluate(sample, figures, model="model", resamples=40)
    refitted = RefittedEvaluation(None, None, None, None)
    facts = ModelFacts(
        name=TASK,
        title=_TITLE,
        version="2",
        outcome="Return to acute care",
        horizon_days=28,
        learner="logistic regression",
        trained_at=NOW.date().isoformat(),
        run="run-2",
        code="ab" * 32,
        is_synthetic=True,
        predictors={"model": "This model", "lace": "LACE", "hospital": "HOSPITAL"},
        tables={"encounter_flat": 3},
        features=_FEATURES,
        folds=5,
        texts={"summary": "Who comes back to acute care within 28 days."},
    )
    gates = judge_gates(evaluation, refitted, GateLimits(), is_synthetic=True)
    return build_report(facts, evaluation, refitted, gates)


def save_forecast(data: Path, key: str, title: str, *, passes: bool) -> None:
    """Save the forecasts of two hospitals, 28 days ahead, by a candidate or by the reference."""
    chance = np.random.default_rng(len(key))
    served = "gradient-boosting" if passes else "seasonal-naive"
    rows = [
        _forecast_day(hospital, level, day, chance)
        for hospital, level in (("ha-harbour", 310.0), ("ha-lion-rock", 64.0))
        for day in range(28)
    ]
    worst = "0.91" if passes else "1.04"
    told = {"worst": worst, "hospital": "ha-lion-rock"}
    text = f"The highest MASE is {worst}, at ha-lion-rock; below 1 is needed."
    held = {"nominal": "80%", "held": "79.4%", "low": "77%", "high": "83%"}
    gates = (
        GateResult("mase", passes, text, "mase", told),
        GateResult(
            "coverage-80", True, "80% intervals held 79.4%; 77% to 83% is needed.", "coverage", held
        ),
    )
    head = {
        "task": key,
        "title": title,
        "made_at": NOW.isoformat(timespec="seconds"),
        "last_day": "2026-11-19",
        "served": served,
        "verdict": f"{served} is served.",
        "levels": QUANTILES,
        "policy": POLICY,
    }
    files = {
        "controlled.json": _to_json(
            {**head, "rows": control_rows(rows, tuple(QUANTILES), "q50", served)}
        ),
        "report.json": _to_json(head),
        GATES_FILE: write_gates(gates),
    }
    ModelStore(data).save_version(f"forecast-{key}", files, NOW)


def _forecast_day(
    hospital: str, level: float, day: int, chance: np.random.Generator
) -> dict[str, Any]:
    middle = level * (1 + 0.12 * np.sin(2 * np.pi * day / 7)) + chance.normal(0, level / 60)
    width = level * (0.06 + day / 400)
    spread = {"q2.5": -2.0, "q10": -1.3, "q50": 0.0, "q90": 1.3, "q97.5": 2.0}
    values = {name: round(float(middle + width * z), 2) for name, z in spread.items()}
    when = date(2026, 11, 20) + timedelta(days=day)
    return {"hospital": hospital, "day": when.isoformat(), **values}


def _build_files(report: Mapping[str, Any], gates: list[GateResult]) -> dict[str, bytes]:
    told = {**report, "gates": [vars(gate) for gate in gates]}
    card = build_card(told)
    results = [
        {"predictor": name, "metric": metric, **performance[metric]}
        for name, performance in report["performance"].items()
        for metric in ("auroc", "auprc", "brier")
    ]
    summary = {
        "title": {"en": _TITLE},
        "grade": "better-than-baseline",
        "verdict": _VERDICTS,
        "results": results,
    }
    features = [{**vars(feature)} for feature in _FEATURES]
    return {
        "model.json": b"{}",
        "summary.json": _to_json(summary),
        "report.json": _to_json(told),
        **{
            f"report.{language}.html": render_report(told, language).encode()
            for language in LANGUAGES
        },
        "card.html": render_card(card).encode(),
        "card.json": _to_json(card),
        "features.json": _to_json({"features": features, "codes": {}}),
        GATES_FILE: write_gates(gates),
        TRAINER_FILE: write_trainer(["researcher.lau"]),
    }


def _make_weeks() -> list[Week]:
    monday = date(2026, 8, 31)
    weeks = []
    for number in range(11):
        psi = 0.03 + 0.012 * number + (0.12 if number > 8 else 0)
        observed = 0.19 + 0.01 * (number % 3) + (0.08 if number == 8 else 0)
        alarms = []
        if psi > 0.2:
            alarms += [Alarm("psi", "score", psi, 1e-6), Alarm("psi", "emergency", 0.41, 1e-7)]
        if number == 8:
            alarms.append(Alarm("calibration", "score", 1.42, 1e-5))
        if number == 10:
            alarms.append(Alarm("missing", "haemoglobin", 0.43, 1e-9))
        week = Week(
            monday + timedelta(weeks=number),
            240,
            {"score": psi, "emergency": 0.05},
            {"haemoglobin": 0.2},
            0.2,
            # The outcomes of the last weeks are yet to come.
            observed if number < 9 else None,
            0.68 if number < 9 else None,
            tuple(alarms),
        )
        weeks.append(week)
    return weeks


def _to_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()
