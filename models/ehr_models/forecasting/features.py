"""Features of a target day, from what was known at an origin: counts so far, and the calendar.

All counts are divided by the hospital's mean of the 28 days up to the origin, so that one model
serves small and large hospitals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_models.forecasting.calendar_days import NO_WEATHER, Holidays, Weather
from ehr_models.forecasting.forecaster import WEEK, last_same_weekday
from ehr_models.forecasting.panel import Panel

__all__ = ["HOSPITAL", "FeatureMaker", "Places"]

HOSPITAL = "hospital"
_LEVEL_DAYS = 28
_YEAR = 52 * WEEK
# How far a holiday is looked for; chosen: a long weekend and the day beside it.
_NEAR = 5


@dataclass(frozen=True)
class Places:
    """What is to be forecast: three arrays of one length, of positions, columns and days ahead."""

    origins: NDArray[np.int64]
    hospitals: NDArray[np.int64]
    horizons: NDArray[np.int64]

    @property
    def targets(self) -> NDArray[np.int64]:
        """Return the position of each target day."""
        return self.origins + self.horizons


class FeatureMaker:
    """Makes features of a panel; every one depends on counts up to the origin alone."""

    def __init__(self, panel: Panel, holidays: Holidays, weather: Weather = NO_WEATHER) -> None:
        self.panel = panel
        self.weather = weather
        values = panel.values
        self._level = np.maximum(_trailing_mean(values, _LEVEL_DAYS), 1.0)
        self._week = _trailing_mean(values, WEEK)
        self._quarter = _trailing_mean(values, 13 * WEEK)
        self._same_weekday = {weeks: _trailing_mean(values, weeks, WEEK) for weeks in (4, 8)}
        # Of the days past the end, too: they are the targets of a forecast.
        self._days = panel.list_days(len(panel) + _YEAR)
        self._holiday = _describe_holidays(holidays.flag(self._days))
        measured = weather.align(self._days[: len(panel)])
        self._weather = _trailing_mean(measured, WEEK) if weather.names else measured

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the features, in the order of the columns."""
        return (
            HOSPITAL, "horizon", "weekday", "year_sine", "year_cosine",
            "same_weekday", "same_weekday_4", "same_weekday_8",
            "last_day", "last_week", "last_quarter", "level",
            "year_before_day", "year_before_week",
            "holiday", "holiday_run", "day_after_holiday", "day_before_holiday",
            "same_weekday_was_holiday",
            *(f"weather_{name}" for name in self.weather.names),
        )  # fmt: skip

    def scale(self, places: Places) -> NDArray[np.float64]:
        """Return what the counts of each place are divided by."""
        scale: NDArray[np.float64] = self._level[places.origins, places.hospitals]
        return scale

    def make(self, places: Places) -> NDArray[np.float64]:
        """Return the features: a row per place, NaN where something is not known."""
        origins, own, targets = places.origins, places.hospitals, places.targets
        level = self.scale(places)
        same = targets - last_same_weekday(places.horizons)
        year_before = targets - _YEAR
        level_before = self._get(self._level, origins - _YEAR, own)
        days = self._days[targets]
        angle = 2 * np.pi * days.dayofyear.to_numpy() / 365.25
        holiday = self._holiday[targets]
        columns = [
            own, places.horizons, days.dayofweek.to_numpy(), np.sin(angle), np.cos(angle),
            self._get(self.panel.values, same, own) / level,
            self._get(self._same_weekday[4], same, own) / level,
            self._get(self._same_weekday[8], same, own) / level,
            self.panel.values[origins, own] / level,
            self._week[origins, own] / level,
            self._quarter[origins, own] / level,
            np.log(level),
            self._get(self.panel.values, year_before, own) / level_before,
            # The week around that day; all of it lies before the origin.
            self._get(self._week, year_before + WEEK // 2, own) / level_before,
            *holiday.T,
            self._holiday[np.maximum(same, 0), 0],
            *self._weather[origins].T,
        ]  # fmt: skip
        return np.column_stack([np.asarray(column, np.float64) for column in columns])

    @staticmethod
    def _get(
        table: NDArray[np.float64], positions: NDArray[np.int64], own: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return values at positions, NaN at those before the first."""
        found = table[np.maximum(positions, 0), own]
        return np.where(positions < 0, np.nan, found)


def _trailing_mean(values: NDArray[np.float64], length: int, step: int = 1) -> NDArray[np.float64]:
    """Return the mean of the last `length` days up to each day, each `step` days from the next.

    NaN where fewer than half of them have a count.
    """
    known = ~np.isnan(values)
    total, count = np.zeros_like(values), np.zeros_like(values)
    for back in range(0, min(length * step, len(values)), step):
        end = len(values) - back
        total[back:] += np.where(known, values, 0.0)[:end]
        count[back:] += known[:end]
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count >= length / 2)


def _describe_holidays(flags: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by day: is it a holiday, of a run how long, the day after one, the day before one."""
    length = np.zeros_like(flags)
    begins = 0
    for day in range(len(flags)):
        if flags[day] != 1:
            begins = day + 1
            length[day] = 0 if flags[day] == 0 else np.nan
        else:
            length[begins : day + 1] = min(day + 1 - begins, _NEAR)
    after = np.concatenate([[np.nan], flags[:-1]])
    before = np.concatenate([flags[1:], [np.nan]])
    return np.column_stack([flags, length, after, before])
