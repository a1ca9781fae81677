"""Labels of a cohort's columns, and names of its steps: closed lists known before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise

from ehr_analytics.cohorts.definition import (
    AsBands,
    AsBoolean,
    AsCategories,
    Cohort,
    Column,
    MeasureKind,
)

__all__ = [
    "FIRST_STEP",
    "NOT_RECORDED",
    "OTHER",
    "YES_NO",
    "band_labels",
    "column_domain",
    "list_periods",
    "list_steps",
    "period_label",
]

# Of a cohort's attrition: everybody, before any criterion.
FIRST_STEP = "in the data"
NOT_RECORDED, OTHER = "not recorded", "other"
# The labels of a condition, and of an outcome.
YES_NO = ("yes", "no")


def column_domain(cohort: Cohort, column: Column) -> tuple[str, ...]:
    """Return the labels that a column may have; none for a number or for frequent codes."""
    match column.form:
        case AsBands(edges=edges):
            return (*band_labels(edges), NOT_RECORDED)
        case AsBoolean():
            return YES_NO
        case AsCategories(values=values):
            if column.measure.kind is MeasureKind.INDEX_PERIOD:
                return values
            return tuple(dict.fromkeys((*values, OTHER, NOT_RECORDED)))
    return ()


def band_labels(edges: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the bands between edges, each the least value of its band.

    >>> band_labels((18, 65))
    ('under 18', '18 to under 65', '65 and over')
    """
    middle = [f"{low} to under {high}" for low, high in pairwise(edges)]
    return (f"under {edges[0]}", *middle, f"{edges[-1]} and over")


def period_label(day: date, unit: str) -> str:
    """Return the year, quarter or month of a day.

    >>> period_label(date(2024, 5, 1), "quarter"), period_label(date(2024, 5, 1), "month")
    ('2024-Q2', '2024-05')
    """
    if unit == "year":
        return f"{day.year}"
    if unit == "quarter":
        return f"{day.year}-Q{(day.month + 2) // 3}"
    return f"{day.year}-{day.month:02d}"


def list_periods(since: date, until: date, unit: str) -> tuple[str, ...]:
    """Return every year, quarter or month from a day to another.

    >>> list_periods(date(2024, 11, 30), date(2025, 1, 1), "month")
    ('2024-11', '2024-12', '2025-01')
    """
    return tuple(dict.fromkeys(period_label(day, unit) for day in _months(since, until)))


def list_steps(cohort: Cohort) -> tuple[str, ...]:
    """Return the names of the steps at which people leave, in order."""
    return (
        "population",
        "index event",
        *(f"with {criterion.name}" for criterion in cohort.include),
        *(f"without {criterion.name}" for criterion in cohort.exclude),
        *(("whole follow-up",) if cohort.follow_up and cohort.follow_up.whole else ()),
    )


def _months(since: date, until: date) -> Iterator[date]:
    month = since.year * 12 + since.month - 1
    while month <= until.year * 12 + until.month - 1:
        yield date(month // 12, month % 12 + 1, 1)
        month += 1
