"""A seeded simulation of hospitals whose truth is known. It stands for no real hospital.

Each day's expected count is level x trend x weekday x time of year x holiday x winter surges x a
slow drift; the count is drawn from a negative binomial around it. Beds follow from arrivals: each
admitted person stays a random number of nights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehr_models.forecasting.calendar_days import Holidays

__all__ = ["Simulation", "simulate"]

# Monday to Sunday: more on Monday, fewer at weekends, as published series have it.
_WEEKDAYS = np.array([1.11, 1.03, 1.00, 0.99, 0.98, 0.94, 0.95])
_YEAR_SWING, _HOLIDAY, _AFTER_HOLIDAY = 0.05, 0.88, 1.07
_SURGE_PEAK, _SURGE_DAYS = 0.18, 18.0
_DRIFT, _DRIFT_KEEPS = 0.006, 0.97
# Variance above a Poisson's: a share of the squared mean.
_DISPERSION = 0.003
_ADMITTED, _MEAN_NIGHTS = 0.3, 4.5


@dataclass(frozen=True)
class Simulation:
    """Counts as hospital, day and count; `expected` is the truth behind attendances."""

    attendances: pd.DataFrame
    beds: pd.DataFrame
    expected: NDArray[np.float64]


def simulate(
    hospitals: int, first_day: pd.Timestamp, days: int, holidays: Holidays, seed: int
) -> Simulation:
    """Return so many hospitals over so many days; the same seed gives the same counts."""
    draw = np.random.default_rng(seed)
    dates = pd.date_range(first_day, periods=days, freq="D")
    names = [f"hospital-{number:02d}" for number in range(1, hospitals + 1)]
    expected = _expect(draw, dates, hospitals, holidays)
    shape = 1 / _DISPERSION
    counts = draw.negative_binomial(shape, shape / (shape + expected))
    beds = np.column_stack([_fill_beds(draw, counts[:, own]) for own in range(hospitals)])
    return Simulation(_to_table(names, dates, counts), _to_table(names, dates, beds), expected)


def _expect(
    draw: np.random.Generator, dates: pd.DatetimeIndex, hospitals: int, holidays: Holidays
) -> NDArray[np.float64]:
    day = np.arange(len(dates))[:, None]
    level = draw.uniform(120, 520, hospitals)
    trend = 1 + draw.normal(0.015, 0.02, hospitals) * day / 365
    weekday = 1 + (_WEEKDAYS[dates.dayofweek.to_numpy()] - 1)[:, None] * draw.uniform(
        0.6, 1.4, hospitals
    )
    winter = 1 + _YEAR_SWING * np.cos(2 * np.pi * (dates.dayofyear.to_numpy() - 20) / 365.25)
    flags = np.nan_to_num(holidays.flag(dates))
    after = np.concatenate([[0], flags[:-1]]) * (1 - flags)
    holiday = np.where(flags == 1, _HOLIDAY, np.where(after == 1, _AFTER_HOLIDAY, 1.0))
    peaks = _draw_surges(draw, dates)
    surge = 1 + _SURGE_PEAK * np.exp(-(((day - peaks) / _SURGE_DAYS) ** 2)).sum(axis=1)
    shocks = draw.normal(0, _DRIFT, (len(dates), hospitals))
    drift = np.zeros(hospitals)
    drifts = []
    for shock in shocks:
        drift = _DRIFT_KEEPS * drift + shock
        drifts.append(drift)
    expected: NDArray[np.float64] = (
        level * trend * weekday * (winter * holiday * surge)[:, None] * np.exp(drifts)
    )
    return expected


def _draw_surges(draw: np.random.Generator, dates: pd.DatetimeIndex) -> NDArray[np.float64]:
    """Return the positions of two surges a year: one of each winter, one of each summer."""
    peaks = []
    for year in range(dates[0].year - 1, dates[-1].year + 2):
        for centre in (pd.Timestamp(year, 2, 1), pd.Timestamp(year, 7, 20)):
            peaks.append((centre - dates[0]).days + draw.normal(0, 20))
    return np.array(peaks)


def _fill_beds(draw: np.random.Generator, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the people in bed at each midnight; those of before the first day are drawn, too."""
    warm_up = 60
    arrivals = np.concatenate([np.full(warm_up, round(float(counts[:60].mean()))), counts])
    admitted = draw.binomial(arrivals, _ADMITTED)
    change = np.zeros(len(arrivals) + 400, np.int64)
    for day, number in enumerate(admitted):
        nights = draw.geometric(1 / _MEAN_NIGHTS, number)
        change[day] += number
        np.subtract.at(change, np.minimum(day + nights, len(change) - 1), 1)
    beds: NDArray[np.int64] = change.cumsum()[warm_up : warm_up + len(counts)]
    return beds


def _to_table(names: list[str], dates: pd.DatetimeIndex, counts: NDArray[np.int64]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "hospital": np.repeat(names, len(dates)),
            "day": np.tile(dates.to_numpy(), len(names)),
            "count": counts.T.ravel(),
        }
    )
