"""What is known of a day beforehand: public holidays, and weather of the days before.

Holidays come from `public_holidays/COUNTRY.csv` beside this module (the country of the
jurisdiction) or from a file of the same form. A year that the table does not have is unknown, not
free of holidays.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehr_fhir.errors import Invalid
from ehr_fhir.jurisdiction import JURISDICTION

__all__ = ["Holidays", "Weather", "read_holidays", "read_weather"]


@dataclass(frozen=True)
class Holidays:
    """Public holidays, and the years of which they are known."""

    days: frozenset[pd.Timestamp]
    years: frozenset[int]

    def flag(self, days: pd.DatetimeIndex) -> NDArray[np.float64]:
        """Return 1 for a holiday, 0 for another day, NaN for one of a year that is not known."""
        known = days.year.isin(list(self.years))
        return np.where(known, days.isin(list(self.days)), np.nan).astype(np.float64)


@dataclass(frozen=True)
class Weather:
    """Measurements by day, NaN where there is none: `values` has a column per name."""

    names: tuple[str, ...]
    days: pd.DatetimeIndex
    values: NDArray[np.float64]

    def align(self, days: pd.DatetimeIndex) -> NDArray[np.float64]:
        """Return the measurements of some days, a row each."""
        table = pd.DataFrame(self.values, index=self.days)
        return np.asarray(table.reindex(days).to_numpy(), np.float64)


NO_WEATHER = Weather((), pd.DatetimeIndex([]), np.empty((0, 0)))


def read_holidays(path: Path | None = None) -> Holidays:
    """Read the holidays of a file, without one those of the jurisdiction's country.

    A CSV file of the columns day (YYYY-MM-DD) and name; lines that begin with # are remarks. Where
    the platform has none for the country, no year is known. Invalid where a file is malformed.
    """
    if path is None:
        shipped = files(__package__) / "public_holidays" / f"{JURISDICTION.country}.csv"
        if not shipped.is_file():
            return Holidays(frozenset(), frozenset())
        path = Path(str(shipped))
    table = _read_days(path)
    if "name" not in table.columns:
        raise Invalid(f"{path} has the columns day and name.")
    days = frozenset(table["day"])
    return Holidays(days, frozenset(day.year for day in days))


def read_weather(path: Path | None) -> Weather:
    """Read daily measurements: a CSV file of day (YYYY-MM-DD) and columns of numbers."""
    if path is None:
        return NO_WEATHER
    table = _read_days(path)
    names = tuple(name for name in table.columns if name != "day")
    values = table[list(names)].apply(pd.to_numeric, errors="coerce")
    if not names or (values.isna() & table[list(names)].notna()).any(axis=None):
        raise Invalid(f"{path} has columns of numbers beside the day.")
    if table["day"].duplicated().any():
        raise Invalid(f"{path} has two rows of one day.")
    return Weather(names, pd.DatetimeIndex(table["day"]), values.to_numpy(np.float64))


def _read_days(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, comment="#", dtype={"day": str})
    except (OSError, ValueError):
        raise Invalid(f"{path} is no CSV file that can be read.") from None
    if "day" not in table.columns:
        raise Invalid(f"{path} has no column day.")
    days = pd.to_datetime(table["day"], format="%Y-%m-%d", errors="coerce")
    if days.isna().any():
        raise Invalid(f"{path} has a day that is not of the form YYYY-MM-DD.")
    return table.assign(day=days)
