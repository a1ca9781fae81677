"""A panel: one count per day and hospital, in the shape that every forecaster takes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehr_fhir.errors import Invalid

__all__ = ["Panel", "build_panel", "read_counts_file"]

_COLUMNS = ["hospital", "day", "count"]


@dataclass(frozen=True)
class Panel:
    """Daily counts: `values` has a row per day and a column per hospital.

    NaN stands before a hospital's first day, and nowhere else. A position in `values` is a day;
    positions past its end are the days to forecast.
    """

    first_day: pd.Timestamp
    hospitals: tuple[str, ...]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def last_day(self) -> pd.Timestamp:
        """Return the last day with a count."""
        return self.first_day + pd.Timedelta(days=len(self) - 1)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the days, hospitals and counts: the version of the data."""
        digest = hashlib.sha256(f"{self.first_day:%Y-%m-%d} {self.hospitals}".encode())
        digest.update(np.ascontiguousarray(self.values).tobytes())
        return digest.hexdigest()

    def list_days(self, end: int) -> pd.DatetimeIndex:
        """Return the days of the positions from 0 to before `end`, also past the panel's end."""
        return pd.date_range(self.first_day, periods=end, freq="D")

    def cut(self, end: int) -> Panel:
        """Return the panel as it was known when position `end` was still to come."""
        return Panel(self.first_day, self.hospitals, self.values[:end])

    def keep_last(self, days: int) -> Panel:
        """Return the panel of so many last days, or of all where there are fewer."""
        begin = max(0, len(self) - days)
        first_day = self.first_day + pd.Timedelta(days=begin)
        return Panel(first_day, self.hospitals, self.values[begin:])

    def select(self, hospitals: tuple[str, ...]) -> Panel:
        """Return the panel of some hospitals, without the days on which none has a count."""
        chosen = [self.hospitals.index(hospital) for hospital in hospitals]
        values = self.values[:, chosen]
        known = ~np.isnan(values).all(axis=1)
        begin = int(known.argmax()) if known.any() else len(values)
        return Panel(self.first_day + pd.Timedelta(days=begin), hospitals, values[begin:])


def build_panel(counts: pd.DataFrame) -> Panel:
    """Return the panel of a table of hospital, day and count; hospitals in order of their id.

    Invalid where a hospital has two counts of a day, a day is missing between its first and the
    last day of all, or a count is no number of zero or more.
    """
    if counts.empty:
        return Panel(pd.Timestamp(0), (), np.empty((0, 0)))
    if counts.duplicated(["hospital", "day"]).any():
        raise Invalid("A hospital has two counts of one day.")
    numbers = pd.to_numeric(counts["count"], errors="coerce")
    if numbers.isna().any() or (numbers < 0).any() or np.isinf(numbers).any():
        raise Invalid("A count is a number of zero or more.")
    wide = counts.assign(count=numbers.astype("float64")).pivot(
        index="day", columns="hospital", values="count"
    )
    days = pd.date_range(wide.index.min(), wide.index.max(), freq="D")
    wide = wide.reindex(days).sort_index(axis="columns")
    values = wide.to_numpy()
    if np.isnan(np.where(np.isnan(values).cumprod(axis=0), 0.0, values)).any():
        raise Invalid("A hospital has days without a count: write 0 where nobody came.")
    return Panel(days[0], tuple(str(name) for name in wide.columns), values)


def read_counts_file(path: Path) -> pd.DataFrame:
    """Read a CSV file of the columns hospital, day (YYYY-MM-DD) and count.

    Invalid where it is missing, has other columns, or a day is malformed.
    """
    try:
        table = pd.read_csv(path, dtype={"hospital": str, "day": str}, comment="#")
    except (OSError, ValueError):
        raise Invalid(f"{path} is no CSV file that can be read.") from None
    if sorted(table.columns) != sorted(_COLUMNS):
        raise Invalid(f"{path} has the columns {', '.join(_COLUMNS)}.")
    days = pd.to_datetime(table["day"], format="%Y-%m-%d", errors="coerce")
    if days.isna().any() or table["hospital"].isna().any():
        raise Invalid(f"Row {_find_row(days.isna() | table['hospital'].isna())} of {path} lacks a"
                      " hospital, or a day of the form YYYY-MM-DD.")  # fmt: skip
    return table.assign(day=days)


def _find_row(wrong: pd.Series[bool]) -> int:
    # The heading is line 1.
    return int(wrong.to_numpy().argmax()) + 2
