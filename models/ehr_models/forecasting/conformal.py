"""Conformal calibration of quantiles by the errors of earlier forecasts.

Each quantile is moved by a quantile of its own earlier errors, in units of the forecast's 95 %
interval: conformalised quantile regression (Romano, Patterson, Candès 2019), one-sided. Which
quantile of the errors is adapted as forecasts turn out too narrow or too wide: adaptive conformal
inference (Gibbs, Candès 2021), since a winter's errors are not those of a summer. Errors are pooled
over hospitals, by week ahead, and count once their target day is known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ehr_models.forecasting.forecaster import HORIZON, LEVELS, MEDIAN, WEEK, Quantiles

__all__ = ["calibrate"]

# Below this many errors a quantile of 2.5 % says nothing.
_FEWEST_ERRORS = 80
# How fast levels adapt, for a week's forecasts of all hospitals that have turned out; chosen among
# 0.015, 0.03, 0.05 and 0.15 on simulations (docs/explanation/forecasting.md).
_RATE = 0.03
_LOWEST, _HIGHEST = 0.002, 0.998


def calibrate(
    raw: Quantiles, observed: NDArray[np.float64], origins: NDArray[np.int64]
) -> Quantiles:
    """Return forecasts made in turn, each as the errors known at its origin ask.

    `raw` is (origin, hospital, day ahead, level), `observed` (origin, hospital, day ahead) with NaN
    for days still to come, `origins` the position of each origin, rising. Forecasts before there
    are enough errors stay as they are.
    """
    width = np.maximum(raw[..., -1] - raw[..., 0], 1.0)
    errors = (observed[..., None] - raw) / width[..., None]
    days = origins[:, None] + np.arange(1, HORIZON + 1)
    result = raw.copy()
    for week in range(HORIZON // WEEK):
        ahead = slice(week * WEEK, (week + 1) * WEEK)
        for place in range(len(LEVELS)):
            if place != MEDIAN:
                shifts = _find_shifts(
                    errors[:, :, ahead, place], days[:, ahead], origins, LEVELS[place]
                )
                result[:, :, ahead, place] += shifts[:, None, None] * width[:, :, ahead]
    return np.maximum(np.sort(result, axis=-1), 0.0)


def _find_shifts(
    errors: NDArray[np.float64],
    days: NDArray[np.int64],
    origins: NDArray[np.int64],
    level: float,
) -> NDArray[np.float64]:
    """Return by how many widths one quantile of one week ahead is moved, for each origin."""
    shifts = np.zeros(len(origins))
    adapted = level
    known_before = np.zeros(days.shape, bool)
    for place, origin in enumerate(origins):
        known = days <= origin
        made, day = np.nonzero(known & ~known_before)
        if len(made):
            was_below = (errors[made, :, day] <= shifts[made, None]).mean()
            adapted += _RATE * (level - was_below) * len(made) / WEEK
            adapted = min(max(adapted, _LOWEST), _HIGHEST)
        known_before = known
        counted = errors.swapaxes(1, 2)[known]
        if counted.size >= _FEWEST_ERRORS:
            shifts[place] = np.quantile(counted, adapted)
    return shifts
