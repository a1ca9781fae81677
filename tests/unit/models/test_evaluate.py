"""How the model is judged: by patient, beside its baselines, and honestly when data are few."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from ehr_fhir.errors import Unprocessable
from ehr_models.comparators import compute_lace
from ehr_models.evaluate import MODEL, Evaluation, cross_validate, round_count
from ehr_models.evaluation.bootstrap import Interval
from ehr_models.registry import get_task
from ehr_models.task import Frame
from tests.lib import gold

TASK = get_task("readmission-28d")


@pytest.fixture(scope="module")
def frame() -> Frame:
    return TASK.build_frame(gold.made_up(80))


def set_outcome(frame: Frame, values: pd.Series[float] | float) -> Frame:
    return replace(frame, rows=frame.rows.assign(returned=values))


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

    # Written out, since what is not defined is not equal to itself.
    assert repr(first.figures) == repr(second.figures)


def test_the_features_carry_a_signal_the_model_finds() -> None:
    evaluation = cross_validate(TASK, TASK.build_frame(gold.made_up(300)), 50)

    assert evaluation.performance["model"].auroc.low > 0.5


def test_too_few_returns_are_said_plainly(frame: Frame) -> None:
    outcome = frame.rows["returned"]
    few = outcome.where(outcome.cumsum() <= 4, 0.0)

    evaluation = cross_validate(TASK, set_outcome(frame, few), 50)

    assert "Too few returns" in evaluation.verdict
    assert "fewer than 8" in evaluation.verdict


@pytest.fixture(scope="module")
def evaluation(frame: Frame) -> Evaluation:
    return cross_validate(TASK, frame, 20)


def around(value: float) -> Interval:
    return Interval(value, value - 0.05, value + 0.05)


@pytest.mark.parametrize(
    ("model", "above_rival", "outcomes", "grade"),
    [
        (0.75, 0.06, 200, "better-than-baseline"),
        # The intervals of the two may meet: it is that of the difference which counts.
        (0.75, 0.04, 200, "not-better"),
        (0.47, 0.20, 200, "not-better"),
        (0.55, 0.20, 200, "not-better"),
        (0.90, 0.30, 7, "too-few-outcomes"),
        (float("nan"), 0.30, 200, "not-better"),
    ],
)
def test_a_grade_is_better_only_where_chance_and_each_difference_from_zero_are_left_behind(
    evaluation: Evaluation, model: float, above_rival: float, outcomes: int, grade: str
) -> None:
    figures = evaluation.figures
    own = replace(figures.performance[MODEL], auroc=around(model))
    difference = replace(figures.differences[0], auroc=around(above_rival))
    judged = replace(
        figures,
        outcomes=outcomes,
        performance={**figures.performance, MODEL: own},
        differences=(difference,),
    )

    assert [each.comparator for each in figures.differences] == ["lace", "hospital"]
    assert replace(evaluation, figures=judged).grade == grade


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


def test_counts_that_travel_are_round_count() -> None:
    assert [round_count(count) for count in (0, 1, 7, 8, 22, 100)] == [
        "about 0", "fewer than 8", "fewer than 8", "about 10", "about 20", "about 100",
    ]  # fmt: skip
