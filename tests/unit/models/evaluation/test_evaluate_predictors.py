"""A model beside its comparators: paired differences, the same digits twice, clear refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from ehr_fhir.errors import Invalid, Unprocessable
from ehr_models.evaluation.evaluate import evaluate
from ehr_models.evaluation.sample import Sample, build_sample, check_probabilities


def example(rows: int = 1000) -> tuple[Sample, dict[str, np.ndarray]]:
    chance = np.random.default_rng(31)
    risk = chance.beta(2, 6, rows)
    outcome = (chance.random(rows) < risk).astype(float)
    noisy = np.clip(risk + chance.normal(0, 0.3, rows), 0.01, 0.99)
    sample = build_sample(
        outcome, chance.integers(0, 400, rows), groups={"sex": chance.choice(["f", "m"], rows)}
    )
    return sample, {"model": risk, "score": noisy, "prevalence": np.full(rows, outcome.mean())}


def test_a_difference_is_paired_and_narrower_than_the_two_intervals() -> None:
    sample, predictions = example()

    found = evaluate(sample, predictions, model="model", comparators=("score",), resamples=300)

    (difference,) = found.differences
    model, score = found.performance["model"], found.performance["score"]
    assert difference.auroc.value == pytest.approx(
        roc_auc_score(sample.outcome, predictions["model"])
        - roc_auc_score(sample.outcome, predictions["score"])
    )
    assert difference.brier_saved.value == pytest.approx(
        brier_score_loss(sample.outcome, predictions["score"])
        - brier_score_loss(sample.outcome, predictions["model"])
    )
    apart = (model.auroc.high - model.auroc.low) + (score.auroc.high - score.auroc.low)
    assert 0 < difference.auroc.high - difference.auroc.low < apart
    assert found.is_better_than_comparators()
    assert not evaluate(
        sample, predictions, model="score", comparators=("model",), resamples=50
    ).is_better_than_comparators()


def test_the_prevalence_alone_has_no_skill() -> None:
    sample, predictions = example()

    found = evaluate(sample, predictions, model="model", resamples=20).performance["prevalence"]

    assert found.auroc.value == 0.5
    assert found.scaled_brier.value == pytest.approx(0)
    assert found.average_precision.value == pytest.approx(sample.outcome.mean())


def test_an_evaluation_has_the_same_digits_twice() -> None:
    sample, predictions = example()

    first, second = (evaluate(sample, predictions, model="model", resamples=30) for _ in range(2))

    # Written out, since what is not defined is not equal to itself.
    assert repr(first) == repr(second)


def test_a_score_ranks_by_its_points() -> None:
    sample, predictions = example()
    points = np.round(predictions["score"] * 10)

    found = evaluate(
        sample, predictions, model="model", rankings={"score": points}, resamples=10
    ).performance["score"]

    assert found.auroc.value == pytest.approx(roc_auc_score(sample.outcome, points))
    assert found.brier.value == pytest.approx(
        brier_score_loss(sample.outcome, predictions["score"])
    )


def test_a_high_figure_on_synthetic_data_is_suspected_of_leakage() -> None:
    sample, predictions = example()
    leaking = np.clip(0.3 * predictions["model"] + 0.6 * sample.outcome, 0, 1)

    found = evaluate(sample, {"model": leaking}, model="model", resamples=10)

    assert found.suspects_leakage(is_synthetic=True)
    assert not found.suspects_leakage(is_synthetic=False)
    assert not evaluate(
        sample, {"model": predictions["model"]}, model="model", resamples=10
    ).suspects_leakage(is_synthetic=True)


def test_arrays_that_cannot_be_evaluated_are_refused() -> None:
    sample, predictions = example()

    with pytest.raises(Invalid, match="neither 0 nor 1"):
        build_sample([0, 1, np.nan], range(3))
    with pytest.raises(Invalid, match="people has 2 rows, the outcome has 3"):
        build_sample([0, 1, 0], range(2))
    with pytest.raises(Unprocessable, match="both outcomes"):
        build_sample([0, 0], range(2))
    with pytest.raises(Invalid, match="no instant"):
        build_sample([0, 1], range(2), when=pd.Series(["2024-01-01", None]))
    with pytest.raises(Invalid, match="no predictions of other"):
        evaluate(sample, predictions, model="other")
    for wrong in (1.2, np.nan):
        with pytest.raises(Invalid, match="of score is missing or no probability"):
            check_probabilities("score", [wrong, *predictions["score"][1:]], sample)
    with pytest.raises(Invalid, match="ranking of score"):
        evaluate(sample, predictions, model="model", rankings={"score": [1.0]})
