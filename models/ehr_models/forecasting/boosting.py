"""Gradient boosting with quantile loss (LightGBM): one model a quantile, for all hospitals.

Each learns the ratio of a day's count to its hospital's level at the origin, for every day ahead
at once: the day ahead is a feature (direct forecasts, none is made from another forecast).
"""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from ehr_models.forecasting.calendar_days import NO_WEATHER, Holidays, Weather
from ehr_models.forecasting.features import HOSPITAL, FeatureMaker, Places
from ehr_models.forecasting.forecaster import HORIZON, LEVELS, WEEK, Quantiles
from ehr_models.forecasting.panel import Panel

__all__ = ["Boosting"]

_ROUNDS = 150
# Same data and seed give the same trees. One thread: on a machine that is shared, LightGBM's
# threads wait for each other longer than they work.
_PARAMETERS = {
    "objective": "quantile", "learning_rate": 0.05, "num_leaves": 8, "min_data_in_leaf": 200,
    "feature_fraction": 0.8, "lambda_l2": 1.0, "num_threads": 1, "deterministic": True,
    "force_row_wise": True, "verbosity": -1,
}  # fmt: skip
# Days a hospital has before the first origin that is learnt from: before, its means are not known.
_WARM_UP = 8 * WEEK


class Boosting:
    """LightGBM on counts so far, weekday, time of year, public holidays and weather so far."""

    name = "gradient-boosting"

    def __init__(self, holidays: Holidays, weather: Weather = NO_WEATHER, seed: int = 0) -> None:
        self.holidays = holidays
        self.weather = weather
        self.seed = seed
        self._models: list[Any] = []  # Any: LightGBM has no types

    def fit(self, panel: Panel) -> None:
        """Learn from every day after a warm-up, at one random day ahead of each of four weeks."""
        maker = FeatureMaker(panel, self.holidays, self.weather)
        places = self._draw_places(panel)
        scale = maker.scale(places)
        data = lightgbm.Dataset(
            maker.make(places),
            panel.values[places.targets, places.hospitals] / scale,
            # By position: LightGBM takes not every name that a column of weather may have.
            categorical_feature=[maker.names.index(HOSPITAL)],
            params={"verbosity": -1, "num_threads": 1},
            free_raw_data=False,
        )
        self._models = [
            lightgbm.train({**_PARAMETERS, "alpha": level, "seed": self.seed}, data, _ROUNDS)
            for level in LEVELS
        ]

    def predict(self, panel: Panel, origins: NDArray[np.int64]) -> Quantiles:
        """Return the quantiles, sorted: models of two quantiles may cross."""
        maker = FeatureMaker(panel, self.holidays, self.weather)
        grid = np.meshgrid(
            origins, np.arange(len(panel.hospitals)), np.arange(1, HORIZON + 1), indexing="ij"
        )
        places = Places(*(axis.ravel() for axis in grid))
        features = maker.make(places)
        predicted = np.column_stack(
            [model.predict(features, num_threads=1) for model in self._models]
        )
        counts = np.sort(predicted, axis=1) * maker.scale(places)[:, None]
        return np.maximum(counts, 0.0).reshape(*grid[0].shape, len(LEVELS))

    def _draw_places(self, panel: Panel) -> Places:
        draw = np.random.default_rng(self.seed)
        weeks = np.arange(0, HORIZON, WEEK)
        targets, own = np.nonzero(~np.isnan(panel.values))
        targets, own = np.repeat(targets, len(weeks)), np.repeat(own, len(weeks))
        horizons = np.tile(weeks, len(targets) // len(weeks))
        horizons = horizons + draw.integers(1, WEEK + 1, len(targets))
        origins = targets - horizons
        first = np.isnan(panel.values).sum(axis=0)
        usable = origins >= first[own] + _WARM_UP
        return Places(origins[usable], own[usable], horizons[usable])
