"""Net benefit and figures at fixed shares of alerts, against dcurves and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from ehr_models.evaluation.bootstrap import bootstrap
from ehr_models.evaluation.decisions import (
    ThresholdCounts,
    choose_alert_thresholds,
    decision_counts,
    read_alert_points,
    read_decision_curve,
)
from ehr_models.evaluation.evaluate import evaluate
from ehr_models.evaluation.sample import build_sample
from ehr_models.report.contents import publish

# Net benefit of the predictions below as dcurves 1.1.7 gives it: of the model, and of treating all.
DCURVES = {
    0.05: (0.195684, 0.200000),
    0.10: (0.157556, 0.155556),
    0.20: (0.106500, 0.050000),
    0.35: (0.043538, -0.169231),
    0.50: (0.016000, -0.520000),
}


def example() -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(11)
    risk = np.round(1 / (1 + np.exp(1.5 - chance.normal(size=500))), 3)
    return (chance.random(500) < risk).astype(float), risk


@pytest.mark.parametrize("threshold", DCURVES)
def test_net_benefit_is_that_of_dcurves(threshold: float) -> None:
    outcome, risk = example()
    sample = build_sample(outcome, range(500))

    curve = read_decision_curve(bootstrap(500, [decision_counts(sample, risk)], 20)[0])

    point = next(each for each in curve if each.threshold == threshold)
    assert (point.net_benefit.value, point.treat_all) == pytest.approx(DCURVES[threshold], abs=1e-6)
    assert point.net_benefit.low < point.net_benefit.value < point.net_benefit.high


def test_treating_all_gains_prevalence_less_the_odds_of_the_rest() -> None:
    # Vickers and Elkin: at a threshold equal to the prevalence, treating all gains nothing.
    sample = build_sample([1, 0, 0, 0], range(4))

    curve = read_decision_curve(bootstrap(4, [decision_counts(sample, np.ones(4))], 0)[0])

    by_threshold = {point.threshold: point for point in curve}
    assert by_threshold[0.25].treat_all == pytest.approx(0)
    assert by_threshold[0.1].treat_all == pytest.approx(0.25 - 0.75 / 9)
    assert all(point.net_benefit.value == pytest.approx(point.treat_all) for point in curve)


def test_figures_at_a_share_of_alerts_are_those_of_the_confusion_matrix() -> None:
    outcome, risk = example()
    sample = build_sample(outcome, range(500))
    rates = (0.1, 0.3)
    thresholds = choose_alert_thresholds(risk, rates)

    counts = bootstrap(500, [ThresholdCounts(sample, risk, thresholds)], 50)[0]

    for point in read_alert_points(counts, thresholds, rates):
        (true_negative, false_positive), (missed, true) = confusion_matrix(
            outcome, risk >= point.threshold
        )
        assert point.alerts == true + false_positive
        assert point.wanted_rate <= point.alert_rate < point.wanted_rate + 0.01
        assert point.sensitivity.value == pytest.approx(true / (true + missed))
        assert point.specificity.value == pytest.approx(
            true_negative / (true_negative + false_positive)
        )
        assert point.positive_predictive_value.value == pytest.approx(true / point.alerts)
        assert point.negative_predictive_value.value == pytest.approx(
            true_negative / (true_negative + missed)
        )
        assert point.sensitivity.low < point.sensitivity.value < point.sensitivity.high


def test_rows_of_equal_rank_all_raise_an_alert() -> None:
    ranking = np.array([3.0, 2, 2, 2, 1, 1, 0, 0, 0, 0])

    assert choose_alert_thresholds(ranking, (0.1, 0.2, 0.4, 0.41)).tolist() == [3, 2, 2, 1]


def test_net_benefit_of_few_alerts_is_not_shown() -> None:
    # Three people are above 0.3, of them two with the outcome; at 0.1 it is a hundred.
    risk = np.repeat([0.35, 0.15, 0.05], [3, 97, 400])
    outcome = np.zeros(500)
    outcome[[0, 1, *range(3, 53)]] = 1
    sample = build_sample(outcome, np.arange(500))

    found = evaluate(sample, {"model": risk}, model="model", resamples=20)

    curve = {
        point["threshold"]: point["net_benefit"]
        for point in publish(found.performance["model"].decision_curve)
    }
    assert curve[0.3] is None
    # (52 - 48 / 9) / 500; above all predictions nobody is alerted, and nothing gained.
    assert curve[0.1]["value"] == pytest.approx(0.0933, abs=1e-4)
    assert curve[0.5]["value"] == 0
