"""What a cohort reads: the columns of each set of events, and of each table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ehr_analytics.cohorts.conditions import Condition, iterate_comparisons
from ehr_analytics.cohorts.definition import DERIVED_COLUMNS, Cohort, MeasureKind
from ehr_analytics.cohorts.sources import PERSON_SOURCES, Source

__all__ = ["event_columns", "person_columns", "required_columns"]


def event_columns(cohort: Cohort, base: str) -> tuple[str, ...]:
    """Return the columns, derived ones too, that are read of a set or of those made of it."""
    names: set[str] = set()
    for events in cohort.events:
        if cohort.base_events(events.name).name == base:
            names |= {*_columns_of((*events.where, *events.keep)), *events.further}
    for measure in cohort.measures():
        source = cohort.index.events if measure.kind is MeasureKind.INDEX else measure.events
        if source is None or cohort.base_events(source).name != base:
            continue
        if measure.kind is MeasureKind.TOTAL_DAYS:
            names.add("days")
        elif measure.column is not None:
            names.add(measure.column)
    return tuple(sorted(names))


def person_columns(cohort: Cohort) -> tuple[str, ...]:
    """Return the columns that are read of the table of persons."""
    names = _columns_of(cohort.population)
    for measure in cohort.measures():
        if measure.kind is MeasureKind.PERSON and measure.column is not None:
            names.add(measure.column)
        if measure.kind is MeasureKind.AGE:
            names.add(PERSON_SOURCES[cohort.model].birth_year)
    return tuple(sorted(names))


def required_columns(cohort: Cohort, sources: Mapping[str, Source]) -> dict[str, tuple[str, ...]]:
    """Return the columns of each table that a project needs for a cohort, the person's first."""
    table = PERSON_SOURCES[cohort.model].table
    needed = {table: dict.fromkeys((sources[table].person, *person_columns(cohort)))}
    for events in cohort.events:
        if events.table is None:
            continue
        columns = needed.setdefault(events.table, dict.fromkeys([sources[events.table].person]))
        read = [events.date, events.end, events.until, *event_columns(cohort, events.name)]
        columns.update(dict.fromkeys(name for name in read if name and name not in DERIVED_COLUMNS))
    return {name: tuple(columns) for name, columns in needed.items()}


def _columns_of(conditions: Iterable[Condition]) -> set[str]:
    return {
        comparison.column
        for condition in conditions
        for comparison in iterate_comparisons(condition)
    }
