"""How the model is judged: by patient, beside its baselines, and honestly when data are few."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from ehr_fhir.errors import Unprocessable
from ehr_models.card import write_card
from ehr_models.comparators import compute_lace
from ehr_models.evaluate import MODEL, Evaluation, cross_validate, round_count
from ehr_models.intervals import Interval, Performance, measure_performance
from ehr_models.registry import get_task
from ehr_models.task import Frame
from tests.lib import gold

TASK = get_task("readmission-28d")


@pytest.fixture(scope="module")
def frame() -> Frame:
    return TASK.build_frame(gold.made_up(80))


def set_outcome(frame: Frame, values: pd.Series[float] | float) -> Frame:
    return replace(frame, rows=frame.rows.assign(returned=values))


def test_the_figures_are_those_of_scikit_learn() -> None:
    chance = np.random.default_rng(3)
    outcome = (chance.random(300) < 0.3).astype(float)
    # Rounded, so that there are ties.
    predicted = np.round(0.4 * outcome + 0.6 * chance.random(300), 1)
    people = np.arange(300).astype(object)

    figures = measure_performance(outcome, predicted, predicted, people, 10)

    assert figures.auroc.value == pytest.approx(roc_auc_score(outcome, predicted))
    assert figures.auprc.value == pytest.approx(average_precision_score(outcome, predicted))
    assert figures.brier.value == pytest.approx(brier_score_loss(outcome, predicted))


def test_an_interval_holds_its_figure_and_is_wider_when_stays_belong_to_few_people() -> None:
    chance = np.random.default_rng(4)
    outcome = np.repeat((chance.random(40) < 0.4).astype(float), 10)
    predicted = np.repeat(chance.random(40), 10)
    few, many = np.repeat(np.arange(40), 10), np.arange(400)

    by_person = measure_performance(outcome, predicted, predicted, few.astype(object), 300).auroc
    by_stay = measure_performance(outcome, predicted, predicted, many.astype(object), 300).auroc

    assert by_person.low < by_person.value < by_person.high
    assert by_person.high - by_person.low > 1.5 * (by_stay.high - by_stay.low)


def test_the_model_stands_beside_lace_and_the_prevalence(frame: Frame) -> None:
    evaluation = cross_validate(TASK, frame, resamples=50)

    learners, scores = ["model", "logistic", "boosting"], ["lace", "hospital"]
    assert list(evaluation.performance) == [*learners, *scores, "prevalence"]
    assert evaluation.performance["prevalence"].auroc.value == 0.5
    assert evaluation.stays == frame.rows["returned"].notna().sum()
    assert evaluation.outcomes == frame.rows["returned"].sum()
    assert evaluation.predictions[["model", "boosting", "lace"]].notna().all(axis=None)


def test_an_evaluation_is_the_same_twice(frame: Frame) -> None:
    first, second = cross_validate(TASK, frame, 20), cross_validate(TASK, frame, 20)

    assert first.performance == second.performance


def test_the_features_carry_a_signal_the_model_finds() -> None:
    evaluation = cross_validate(TASK, TASK.build_frame(gold.made_up(300)), 50)

    assert evaluation.performance["model"].auroc.low > 0.5


def test_too_few_returns_are_said_plainly(frame: Frame) -> None:
    outcome = frame.rows["returned"]
    few = outcome.where(outcome.cumsum() <= 4, 0.0)

    evaluation = cross_validate(TASK, set_outcome(frame, few), 50)

    assert "Too few returns" in evaluation.verdict
    assert "fewer than 8" in evaluation.verdict


def graded(model: float, rival: float, outcomes: int = 200) -> str:
    """Return the grade where model and comparator have these AUROCs, with 0.05 to both sides."""

    def performance(auroc: float) -> Performance:
        interval = Interval(auroc, auroc - 0.05, auroc + 0.05)
        return Performance(interval, interval, interval)

    figures = {MODEL: performance(model)}
    figures |= {comparator.name: performance(rival) for comparator in TASK.comparators}
    return Evaluation(TASK, 900, 300, outcomes, 5, figures, pd.DataFrame()).grade


@pytest.mark.parametrize(
    ("model", "rival", "outcomes", "grade"),
    [
        (0.75, 0.60, 200, "better-than-baseline"),
        (0.75, 0.65, 200, "not-better"),
        (0.47, 0.30, 200, "not-better"),
        (0.55, 0.30, 200, "not-better"),
        (0.90, 0.60, 7, "too-few-outcomes"),
        (float("nan"), 0.60, 200, "not-better"),
    ],
)
def test_a_grade_is_better_only_where_the_intervals_do_not_meet(
    model: float, rival: float, outcomes: int, grade: str
) -> None:
    assert graded(model, rival, outcomes) == grade


def test_without_two_people_who_returned_nothing_is_trained(frame: Frame) -> None:
    with pytest.raises(Unprocessable, match="0 people returned"):
        cross_validate(TASK, set_outcome(frame, 0.0))


@pytest.mark.parametrize(
    ("days", "emergency", "conditions", "visits", "points"),
    [
        (0.5, 0, 0, 0, 0),
        (1, 1, 0, 0, 4),
        (3.9, 0, 3, 1, 7),
        (6, 0, 4, 4, 13),
        (13, 1, 9, 9, 17),
        (14, 1, 9, 9, 19),
    ],
)
def test_lace_gives_its_points(
    days: float, emergency: float, conditions: float, visits: float, points: float
) -> None:
    stay = pd.DataFrame(
        {
            "length_of_stay": [days],
            "emergency": [float(emergency)],
            "conditions_active": [float(conditions)],
            "prior_emergency_6m": [float(visits)],
        }
    )

    assert compute_lace(stay).tolist() == [points]


def test_the_card_says_use_data_figures_and_limits_and_no_small_count(frame: Frame) -> None:
    evaluation = cross_validate(TASK, frame, 50)

    text = write_card(
        evaluation,
        trained_at="2026-11-22",
        tables={"encounter_flat": 3},
        code="0" * 64,
        run="run-1",
        features=frame.features,
        learner="logistic regression",
    )

    for heading in ("Intended use", "Not for", "Warnings", "Trust ingredients", "Limits"):
        assert heading in text
    assert "encounter_flat (version 3)" in text
    assert str(evaluation.performance["model"].auroc) in text
    assert f"{evaluation.stays} acute" not in text
    assert "$" not in text


def test_counts_that_travel_are_round_count() -> None:
    assert [round_count(count) for count in (0, 1, 7, 8, 22, 100)] == [
        "about 0", "fewer than 8", "fewer than 8", "about 10", "about 20", "about 100",
    ]  # fmt: skip
