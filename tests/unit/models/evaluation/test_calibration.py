"""Calibration against statsmodels, published figures and simulated models whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit

from ehr_models.evaluation.calibration import fit_weak_calibration, measure_calibration, smooth
from ehr_models.evaluation.performance import BrierStatistic
from ehr_models.evaluation.recalibration import MINIMUM_ISOTONIC_OUTCOMES, compare_recalibrations
from ehr_models.evaluation.sample import build_sample


def simulate(rows: int, seed: int, *, added: float = 0.0, factor: float = 1.0) -> tuple:
    """Return outcomes, predictions and people of a model whose logit is off as given."""
    chance = np.random.default_rng(seed)
    risk = chance.normal(-2, 1, rows)
    outcome = (chance.random(rows) < expit(added + factor * risk)).astype(float)
    return outcome, expit(risk), np.arange(rows)


def test_intercepts_and_slope_are_those_of_logistic_regressions() -> None:
    outcome, predicted, _ = simulate(800, 1)
    people = np.repeat(np.arange(200), 4)

    found = measure_calibration(outcome, predicted, people)

    design = sm.add_constant(logit(predicted))
    # Another program for the same model: maximum likelihood by Newton, not by reweighting.
    weak = sm.Logit(outcome, design).fit(
        disp=False, cov_type="cluster", cov_kwds={"groups": people}
    )
    large = sm.Logit(outcome, np.ones(800), offset=logit(predicted)).fit(disp=False)
    assert (found.intercept.value, found.slope.value) == pytest.approx(tuple(weak.params), rel=1e-6)
    low, high = weak.conf_int()[1]
    assert (found.slope.low, found.slope.high) == pytest.approx((low, high), rel=1e-3)
    assert found.in_the_large.value == pytest.approx(large.params[0], rel=1e-6)


def test_a_model_that_is_right_has_slope_one_and_intercept_zero_within_the_intervals() -> None:
    found = measure_calibration(*simulate(20_000, 2))

    assert found.slope.low < 1 < found.slope.high
    assert found.intercept.low < 0 < found.intercept.high
    assert found.in_the_large.low < 0 < found.in_the_large.high
    assert found.eavg < 0.01
    assert found.line_slope == pytest.approx(1, abs=0.05)


def test_the_error_of_a_wrong_model_is_found_as_large_as_it_is() -> None:
    outcome, predicted, people = simulate(40_000, 4, added=0.5, factor=0.7)
    truth = expit(0.5 + 0.7 * logit(predicted))
    error = np.abs(truth - predicted)

    found = measure_calibration(outcome, predicted, people)

    assert found.intercept.low < 0.5 < found.intercept.high
    assert found.slope.low < 0.7 < found.slope.high
    assert found.in_the_large.low > 0
    assert found.eavg == pytest.approx(error.mean(), rel=0.1)
    assert found.e50 == pytest.approx(np.median(error), rel=0.1)
    assert found.e90 == pytest.approx(np.percentile(error, 90), rel=0.1)
    assert found.e50 <= found.e90 <= found.emax


def test_a_constant_prediction_has_no_slope_but_an_error() -> None:
    outcome = np.array([1.0, 0, 0, 0] * 30)

    found = measure_calibration(outcome, np.full(120, 0.5), np.arange(120))

    assert np.isnan(found.slope.value)
    assert found.in_the_large.value == pytest.approx(logit(0.25) - logit(0.5))
    assert found.eavg == found.emax == pytest.approx(0.25)


def test_separated_outcomes_have_no_slope() -> None:
    predicted = np.linspace(0.1, 0.9, 40, dtype=np.float64)

    outcome = (predicted > 0.5).astype(np.float64)

    assert np.isnan(fit_weak_calibration(outcome, predicted, np.arange(40))[1].low)


@pytest.mark.parametrize("digits", [1, 2, 6])
def test_the_smooth_share_is_defined_for_every_row_and_in_any_order(digits: int) -> None:
    outcome, predicted, _ = simulate(500, 4)
    predicted = np.round(predicted, digits)
    order = np.random.default_rng(5).permutation(500)

    smoothed = smooth(outcome, predicted)

    assert ((smoothed >= 0) & (smoothed <= 1)).all()
    assert smooth(outcome[order], predicted[order]).tolist() == smoothed[order].tolist()


def test_predictions_of_zero_and_one_are_taken() -> None:
    outcome, predicted, people = simulate(400, 6)
    predicted[:5], predicted[5:10] = 0.0, 1.0

    assert 0 < measure_calibration(outcome, predicted, people).slope.value < 1


def test_the_brier_score_is_that_of_patient_level_prediction() -> None:
    # The example on the page of its function `brierScore`: 0.27. It scales by the mean prediction,
    # (1 - 0.27 / 0.21); here the share that came is the reference, 0.6 x 0.4.
    sample = build_sample([0, 1, 0, 1, 1], range(5))

    brier, reference = BrierStatistic(sample, np.array([0.1, 0.2, 0.3, 0.4, 0.5]))(np.ones(5, int))

    assert brier == pytest.approx(0.27)
    assert reference == pytest.approx(0.24)


def test_recalibration_mends_what_it_can_and_is_judged_on_others() -> None:
    outcome, predicted, people = simulate(8_000, 7, added=0.5, factor=0.7)
    sample = build_sample(outcome, people)

    none, shifted, scaled, isotonic = compare_recalibrations(sample, predicted)

    assert outcome.sum() >= MINIMUM_ISOTONIC_OUTCOMES
    assert scaled.added == pytest.approx(0.5, abs=0.15)
    assert scaled.factor == pytest.approx(0.7, abs=0.08)
    assert abs(shifted.in_the_large.value) < 0.01 < none.in_the_large.low
    assert scaled.slope.low < 1 < scaled.slope.high
    assert max(scaled.eavg, isotonic.eavg) < shifted.eavg < none.eavg


def test_isotonic_recalibration_waits_for_enough_outcomes() -> None:
    outcome, predicted, people = simulate(1000, 8)

    methods = [
        each.method for each in compare_recalibrations(build_sample(outcome, people), predicted)
    ]

    assert methods == ["none", "intercept", "intercept-and-slope"]
