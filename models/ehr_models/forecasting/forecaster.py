"""What every forecaster does, and the seasonal-naive one that all others are held against."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ehr_models.forecasting.panel import Panel

__all__ = [
    "HORIZON",
    "LEVELS",
    "MEDIAN",
    "WEEK",
    "Forecaster",
    "SeasonalNaive",
    "last_same_weekday",
]

# Days ahead, and the quantiles of each: the ends of the 95 % and 80 % intervals, and the median.
HORIZON = 28
LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
MEDIAN = LEVELS.index(0.5)
WEEK = 7
_YEAR = 52 * WEEK

Quantiles = NDArray[np.float64]


class Forecaster(Protocol):
    """Learns from a panel and forecasts from origins, the last days whose count is known.

    `predict` returns an array (origin, hospital, day ahead, level). For an origin it may look at
    the panel up to that position and no further, though the panel may go on.
    """

    name: str

    def fit(self, panel: Panel) -> None:
        """Learn from all of a panel."""

    def predict(self, panel: Panel, origins: NDArray[np.int64]) -> Quantiles:
        """Return the quantiles of the 28 days after each origin."""


def last_same_weekday(horizons: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many days before the target the last known day of its weekday lies.

    >>> last_same_weekday(np.array([1, 7, 8, 28])).tolist()
    [7, 7, 14, 28]
    """
    return -(-horizons // WEEK) * WEEK


class SeasonalNaive:
    """The count of the last known day of the same weekday, with the errors this made in a year."""

    name = "seasonal-naive"

    def fit(self, panel: Panel) -> None:
        """There is nothing to learn: the errors are taken up to each origin."""

    def predict(self, panel: Panel, origins: NDArray[np.int64]) -> Quantiles:
        """Return the last same weekday, and around it the errors of the year before the origin."""
        horizons = np.arange(1, HORIZON + 1)
        lags = last_same_weekday(horizons)
        result = np.empty((len(origins), len(panel.hospitals), HORIZON, len(LEVELS)))
        for place, origin in enumerate(origins):
            point = panel.values[origin + horizons - lags].T
            for lag in np.unique(lags):
                past = panel.values[max(0, origin + 1 - _YEAR - lag) : origin + 1]
                errors = np.nanquantile(past[lag:] - past[:-lag], LEVELS, axis=0).T
                # The point forecast is what it is named for: only the spread is learnt.
                errors[:, MEDIAN] = 0.0
                ahead = lags == lag
                result[place, :, ahead] = (point[:, ahead, None] + errors[:, None]).swapaxes(0, 1)
        return np.maximum(np.sort(result, axis=-1), 0.0)
