"""Losses, coverage, the comparison of two forecasters, and calibration, beside other sources."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.metrics import mean_pinball_loss

from ehr_models.forecasting.conformal import calibrate
from ehr_models.forecasting.forecaster import HORIZON, LEVELS
from ehr_models.forecasting.metrics import (
    compare_losses,
    cover,
    pinball_loss,
    resample_coverage,
    seasonal_scale,
)
from ehr_models.forecasting.panel import Panel

DRAW = np.random.default_rng(3)


def test_pinball_loss_is_that_of_scikit_learn() -> None:
    observed = DRAW.normal(size=50)
    quantiles = np.sort(DRAW.normal(size=(50, 5)), axis=1)

    expected = np.mean(
        [
            mean_pinball_loss(observed, quantiles[:, place], alpha=level)
            for place, level in enumerate(LEVELS)
        ]
    )

    assert pinball_loss(quantiles, observed).mean() == pytest.approx(expected)


def test_the_comparison_is_that_of_a_regression_on_a_constant_with_newey_west_errors() -> None:
    losses, others = DRAW.normal(1, 1, 44), DRAW.normal(1.3, 1, 44)

    found = compare_losses(losses, others, overlap=3)

    fitted = sm.OLS(losses - others, np.ones(44)).fit(
        cov_type="HAC", cov_kwds={"maxlags": 3}, use_t=True
    )
    # Harvey, Leybourne and Newbold divide by n - 1 where the regression divides by n.
    error = fitted.bse[0] * np.sqrt(44 / 43)
    assert found.difference.value == pytest.approx(fitted.params[0])
    half = (found.difference.high - found.difference.low) / 2
    assert half == pytest.approx(error * 2.016692, rel=1e-6)


def test_a_forecaster_is_not_better_than_itself() -> None:
    losses = DRAW.normal(size=20)

    found = compare_losses(losses, losses, overlap=3)

    assert (found.difference.value, found.p_value) == (0.0, 1.0)


def test_the_scale_of_mase_is_the_error_of_the_last_same_weekday() -> None:
    # Each week is 10 above the last: one week back errs by 10, four weeks back by 40.
    values = np.repeat(np.arange(10) * 10.0, 7).astype(np.float64)[:, None]

    scale = seasonal_scale(Panel(pd.Timestamp("2026-01-01"), ("one",), values))

    assert scale[0, [0, 6, 7, 27]].tolist() == [10, 10, 20, 40]


def test_the_ends_of_an_interval_belong_to_it() -> None:
    quantiles = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]] * 4)

    assert cover(quantiles, np.array([2.0, 4.0, 4.1, 1.0]), 0.80).tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_the_interval_of_coverage_holds_its_value() -> None:
    share = resample_coverage(DRAW.uniform(0.6, 1.0, 40), block=4, seed=1)

    assert share.low < share.value < share.high


@pytest.mark.parametrize("width", [0.3, 1.0, 3.0])
def test_intervals_too_narrow_or_too_wide_come_to_hold_what_they_promise(width: float) -> None:
    origins = np.arange(0, 9 * 80, 9)
    spread = np.array([-1.96, -1.2816, 0.0, 1.2816, 1.96]) * 20 * width
    raw = np.broadcast_to(300 + spread, (80, 10, HORIZON, 5)).copy()
    observed = 300 + 20 * np.random.default_rng(5).normal(size=(80, 10, HORIZON))

    calibrated = calibrate(raw, observed, origins)[20:]

    assert cover(calibrated, observed[20:], 0.80).mean() == pytest.approx(0.80, abs=0.03)
    assert cover(calibrated, observed[20:], 0.95).mean() == pytest.approx(0.95, abs=0.03)


def test_what_came_after_an_origin_does_not_calibrate_it() -> None:
    origins = np.arange(0, 270, 9)
    raw = np.sort(DRAW.normal(300, 20, (30, 4, HORIZON, 5)), axis=-1)
    observed = DRAW.normal(300, 20, (30, 4, HORIZON))
    days = origins[:, None] + np.arange(1, HORIZON + 1)
    changed = np.where((days > 180)[:, None, :], 10_000.0, observed)

    before, after = calibrate(raw, observed, origins), calibrate(raw, changed, origins)

    assert np.array_equal(before[origins <= 180], after[origins <= 180])
    assert not np.array_equal(before[origins > 200], after[origins > 200])
