"""How good forecasts were: MAE, MASE, pinball loss, coverage, and the Diebold-Mariano test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as students_t

from ehr_models.forecasting.forecaster import HORIZON, LEVELS, Quantiles, last_same_weekday
from ehr_models.forecasting.panel import Panel

__all__ = [
    "INTERVALS", "Comparison", "Interval", "compare_losses", "cover", "pinball_loss",
    "resample_coverage", "seasonal_scale",
]  # fmt: skip

# Nominal coverage -> positions of its ends in LEVELS.
INTERVALS = {0.80: (1, 3), 0.95: (0, 4)}
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Mean loss of a forecaster minus that of another, below zero where it is better."""

    difference: Interval
    p_value: float
    origins: int


def pinball_loss(quantiles: Quantiles, observed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the loss of each forecast, the mean over the levels (Koenker and Bassett 1978).

    `observed` has the shape of `quantiles` without its last axis.

    >>> round(float(pinball_loss(np.array([8.0, 9.0, 10.0, 11.0, 12.0]), np.array(10.0))), 6)
    0.06
    """
    over = observed[..., None] - quantiles
    levels = np.array(LEVELS)
    loss: NDArray[np.float64] = np.maximum(levels * over, (levels - 1) * over).mean(axis=-1)
    return loss


def cover(quantiles: Quantiles, observed: NDArray[np.float64], nominal: float) -> NDArray[np.bool_]:
    """Say of each forecast whether its interval holds what came, the ends included."""
    low, high = INTERVALS[nominal]
    held: NDArray[np.bool_] = (quantiles[..., low] <= observed) & (observed <= quantiles[..., high])
    return held


def seasonal_scale(panel: Panel) -> NDArray[np.float64]:
    """Return the mean absolute error of seasonal-naive within a panel, by hospital and day ahead.

    It is the scale of MASE (Hyndman and Koehler 2006), here for each week ahead: a forecast of 28
    days is held against what the same weekday four weeks before would have missed.
    """
    lags = last_same_weekday(np.arange(1, HORIZON + 1))
    values = panel.values
    errors = {
        lag: np.nanmean(np.abs(values[lag:] - values[:-lag]), axis=0) for lag in set(lags.tolist())
    }
    return np.stack([errors[lag] for lag in lags.tolist()], axis=1)


def compare_losses(
    losses: NDArray[np.float64], others: NDArray[np.float64], overlap: int
) -> Comparison:
    """Return the Diebold-Mariano comparison of two series of losses, one per origin, in time order.

    `overlap` is how many later origins a forecast shares target days with. Variance by Bartlett's
    weights to that lag (Newey and West), interval and p value by Student's t (Harvey, Leybourne and
    Newbold 1997). Identical losses differ by 0 with p 1.
    """
    differences = losses - others
    number = len(differences)
    mean = float(differences.mean())
    centred = differences - mean
    variance = float(centred @ centred) / number
    for lag in range(1, overlap + 1):
        weight = 1 - lag / (overlap + 1)
        variance += 2 * weight * float(centred[lag:] @ centred[:-lag]) / number
    error = (variance / (number - 1)) ** 0.5
    if error == 0:
        return Comparison(Interval(mean, mean, mean), 1.0 if mean == 0 else 0.0, number)
    half = float(students_t.ppf((1 + _CONFIDENCE) / 2, number - 1)) * error
    p_value = 2 * float(students_t.sf(abs(mean) / error, number - 1))
    return Comparison(Interval(mean, mean - half, mean + half), p_value, number)


def resample_coverage(
    held: NDArray[np.float64], block: int, seed: int, resamples: int = 500
) -> Interval:
    """Return the mean of one share per origin with its moving-block bootstrap interval.

    Neighbouring origins share target days, so blocks of `block` of them are drawn together.
    """
    draw = np.random.default_rng(seed)
    number = len(held)
    blocks = -(-number // block)
    begins = draw.integers(0, number - block + 1, (resamples, blocks))
    drawn = (begins[:, :, None] + np.arange(block)).reshape(resamples, -1)[:, :number]
    low, high = np.quantile(
        held[drawn].mean(axis=1), [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2]
    )
    return Interval(float(held.mean()), float(low), float(high))
