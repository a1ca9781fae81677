"""Results of several tests side by side, by day: pure.

A column is one test in one unit: what was reported in another unit has a column of its own, so that
no two numbers of one column mean different things.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import fhir_timestamp
from ehr_portal.record.display import printed_unit
from ehr_portal.record.trends import Point, Trend

# Columns of one table: more do not fit a page of paper, nor a screen without scrolling. Chosen.
MAX_COLUMNS = 8
# Rows of one table; older ones are on each test's own page. Chosen.
MAX_ROWS = 60


@dataclass(frozen=True)
class Column:
    """One test in one unit, oldest result first."""

    trend: Trend
    # As printed; empty for results without a number.
    unit: str


@dataclass(frozen=True)
class ComparisonRow:
    """What was measured at one time: for each column its results then, or none."""

    date: str
    cells: tuple[tuple[Point, ...], ...]


@dataclass(frozen=True)
class Comparison:
    """The table: columns as they were chosen, the newest row first."""

    columns: tuple[Column, ...]
    rows: tuple[ComparisonRow, ...]
    # There are older results than the rows show.
    is_cut: bool


def choice_key(trend: Trend) -> str:
    """Return what names a test in the form: the id of its newest result, no code of a test."""
    return trend.newest.id


def choose_trends(trends: Sequence[Trend], chosen: Iterable[str]) -> list[Trend]:
    """Return the tests that were chosen, in their own order; any result of a test names it."""
    wanted = set(chosen)
    return [trend for trend in trends if any(point.id in wanted for point in trend.points)]


def compare_trends(trends: Sequence[Trend]) -> Comparison:
    """Return tests side by side; a test in two units has two columns."""
    columns = [column for trend in trends for column in _split_by_unit(trend)][:MAX_COLUMNS]
    dates = sorted(
        {point.date for column in columns for point in column.trend.points if point.date},
        key=fhir_timestamp,
        reverse=True,
    )
    rows = [
        ComparisonRow(
            date,
            tuple(
                tuple(point for point in column.trend.points if point.date == date)
                for column in columns
            ),
        )
        for date in dates[:MAX_ROWS]
    ]
    return Comparison(tuple(columns), tuple(rows), len(dates) > MAX_ROWS)


def unit_of(point: Point) -> str:
    """Return the unit a result was reported in, as printed; of a blood pressure its parts'."""
    quantity: Resource = point.observation.get("valueQuantity") or next(
        (
            part["valueQuantity"]
            for part in point.observation.get("component", ())
            if "valueQuantity" in part
        ),
        {},
    )
    return printed_unit(str(quantity.get("unit") or quantity.get("code") or ""))


def _split_by_unit(trend: Trend) -> list[Column]:
    units = list(dict.fromkeys(unit_of(point) for point in reversed(trend.points)))
    return [
        Column(replace(trend, points=tuple(p for p in trend.points if unit_of(p) == unit)), unit)
        for unit in units
    ]
