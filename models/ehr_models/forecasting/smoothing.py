"""Exponential smoothing, ETS(A,N,A) with a weekly season, by statsmodels.

Hyndman, Koehler, Ord, Snyder: Forecasting with Exponential Smoothing (2008), chapters 2 and 6. It
knows neither holidays nor the time of year.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

from ehr_models.forecasting.forecaster import HORIZON, LEVELS, WEEK, Quantiles
from ehr_models.forecasting.panel import Panel

__all__ = ["ExponentialSmoothing"]

# Chosen: level and weekly season need no more, and the time to fit grows with the days.
_LEARNT_DAYS = 52 * WEEK


@dataclass(frozen=True)
class _Fitted:
    """Parameters as statsmodels orders them, the position they begin at, the error's variance."""

    begin: int
    parameters: NDArray[np.float64]
    variance: float


class ExponentialSmoothing:
    """One model per hospital: parameters from the last year learnt, states up to each origin."""

    name = "exponential-smoothing"

    def __init__(self) -> None:
        self._fitted: list[_Fitted] = []

    def fit(self, panel: Panel) -> None:
        """Estimate the parameters of each hospital."""
        begin = max(0, len(panel) - _LEARNT_DAYS)
        self._fitted = [_fit(panel.values[:, own], begin) for own in range(len(panel.hospitals))]

    def predict(self, panel: Panel, origins: NDArray[np.int64]) -> Quantiles:
        """Return the Gaussian quantiles of each day ahead (the book's class 1)."""
        horizons = np.arange(1, HORIZON + 1)
        spread = norm.ppf(LEVELS)
        result = np.empty((len(origins), len(panel.hospitals), HORIZON, len(LEVELS)))
        for own, fitted in enumerate(self._fitted):
            # States up to a day depend on no later day, so one pass serves all origins.
            known = panel.values[fitted.begin : origins.max() + 1, own]
            states = _build_model(known).smooth(fitted.parameters)
            level, season = np.asarray(states.level), np.asarray(states.season)
            at = origins - fitted.begin
            # The season of a day is renewed at that day: the last seven are the week to come.
            week = season[at[:, None] - WEEK + 1 + (horizons - 1) % WEEK]
            point = level[at][:, None] + week
            deviation = np.sqrt(_grow_variance(fitted))
            result[:, own] = point[:, :, None] + deviation[:, None] * spread
        return np.maximum(result, 0.0)


def _fit(values: NDArray[np.float64], begin: int) -> _Fitted:
    begin = max(begin, int((~np.isnan(values)).argmax()))
    with warnings.catch_warnings():
        # Weights at the edge of what is allowed, and runs that end at the limit of iterations, are
        # common in counts that hardly change; the evaluation judges the forecasts themselves.
        warnings.simplefilter("ignore")
        result = _build_model(values[begin:]).fit(disp=False, maxiter=200)
    return _Fitted(begin, np.asarray(result.params), float(result.mse))


def _build_model(values: NDArray[np.float64]) -> ETSModel:
    return ETSModel(
        pd.Series(values),
        error="add",
        seasonal="add",
        seasonal_periods=WEEK,
        # Estimated, the eight first states would cost five times the time.
        initialization_method="heuristic",
    )


def _grow_variance(fitted: _Fitted) -> NDArray[np.float64]:
    level, season = fitted.parameters[:2]
    steps = np.array([level + season * (step % WEEK == 0) for step in range(1, HORIZON)])
    grown: NDArray[np.float64] = fitted.variance * (
        1 + np.concatenate([[0.0], np.cumsum(steps**2)])
    )
    return grown
