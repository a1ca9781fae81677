"""Reference of the cohort language in plain Python, by which the engines are judged.

It follows `definition` word by word, one person at a time, and shares with the compiler only the
names of labels and steps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from ehr_analytics.cohorts.conditions import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    IsRecorded,
    Not,
    OneOf,
    StartsWith,
)
from ehr_analytics.cohorts.definition import (
    AsBands,
    AsBoolean,
    AsCategories,
    AsTopCodes,
    Cohort,
    Events,
    FollowUp,
    Form,
    Measure,
    MeasureKind,
)
from ehr_analytics.cohorts.labels import NOT_RECORDED, OTHER, band_labels, period_label
from ehr_analytics.cohorts.sources import PERSON_SOURCES, Source, ValueType
from ehr_analytics.cohorts.usage import event_columns

__all__ = [
    "Event",
    "EventSets",
    "Tables",
    "evaluate_cohort",
    "evaluate_sets",
    "is_known",
    "read_event_sets",
    "satisfies",
]

Row = Mapping[str, Any]  # Any: a value of any of the language's types
Tables = Mapping[str, Sequence[Row]]

_FULL_DAY = re.compile(r"([1-9][0-9]{3}-[0-9]{2}-[0-9]{2})(T.*)?", re.DOTALL)


@dataclass(frozen=True)
class Event:
    """An event: its days, its own columns, and what the platform derives."""

    start: date
    finish: date
    values: dict[str, Any] = field(compare=False)  # Any: as of Row
    # From when on it counts no more, of a cohort that is point in time.
    until: date | None = None

    def order(self, columns: Iterable[str]) -> tuple[Any, ...]:
        """Return a key in which unknown values come last."""
        parts = [(self.values.get(c) is None, self.values.get(c)) for c in columns]
        return (self.start, self.finish, *((m, 0 if m else value) for m, value in parts))


EventSets = Mapping[str, Mapping[Any, Sequence[Event]]]  # events by set and person


def evaluate_cohort(
    cohort: Cohort, sources: Mapping[str, Source], tables: Tables
) -> list[dict[str, Any]]:
    """Return the rows that the compiled cohort gives: of everybody in the data one or more."""
    return evaluate_sets(cohort, sources, tables, read_event_sets(cohort, sources, tables))


def read_event_sets(cohort: Cohort, sources: Mapping[str, Source], tables: Tables) -> EventSets:
    """Return the events of each set by its name and by person, in order."""
    sets: dict[str, dict[Any, list[Event]]] = {}
    # Several sets may be of one table, whose values are converted once.
    converted: dict[str, list[Row]] = {}
    for events in cohort.events:
        name = events.table
        if name is not None and name not in converted:
            converted[name] = [_convert_row(raw, sources[name]) for raw in tables[name]]
        sets[events.name] = _read_events(cohort, events, sources, converted, sets)
    return sets


def evaluate_sets(
    cohort: Cohort, sources: Mapping[str, Source], tables: Tables, sets: EventSets
) -> list[dict[str, Any]]:
    """Return the rows of a cohort whose events were read."""
    source = sources[PERSON_SOURCES[cohort.model].table]
    rows = []
    for raw in tables[source.name]:
        if raw[source.person] is not None:
            person = _convert_row(raw, source)
            rows += _evaluate_person(cohort, raw[source.person], person, sets)
    return rows


def _read_events(
    cohort: Cohort,
    events: Events,
    sources: Mapping[str, Source],
    converted: Tables,
    sets: Mapping[str, Mapping[Any, list[Event]]],
) -> dict[Any, list[Event]]:
    if events.of is not None:
        found = {person: list(own) for person, own in sets[events.of].items()}
    else:
        source = sources[events.table or ""]
        found = _read_rows(events, source, converted[source.name])
        columns = event_columns(cohort, events.name)
        last = max((event.start for own in found.values() for event in own), default=None)
        for person, own in found.items():
            own.sort(key=lambda event: event.order(columns))
            if events.merge_gap is not None:
                found[person] = own = _merge_events(own, events.merge_gap)
            _add_derived_values(own, last)
    return {
        person: [event for event in own if satisfies(AllOf(events.keep), event.values)]
        for person, own in found.items()
    }


def _read_rows(events: Events, source: Source, rows: Sequence[Row]) -> dict[Any, list[Event]]:
    found: dict[Any, list[Event]] = {}
    for row in rows:
        person, start = row[source.person], row[events.date or ""]
        end = start if events.end is None else row[events.end]
        if person is None or start is None or end is None:
            continue
        if all(satisfies(condition, row) for condition in events.where):
            until = row[events.until] if events.until else None
            # A copy: each event gets values of its own that the platform derives.
            event = Event(start, max(start, end), dict(row), until)
            found.setdefault(person, []).append(event)
    return found


def _merge_events(events: Sequence[Event], gap: int) -> list[Event]:
    stays: list[Event] = []
    for event in events:
        if stays and (event.start - stays[-1].finish).days <= gap:
            first = stays.pop()
            event = Event(first.start, max(first.finish, event.finish), first.values)
        stays.append(event)
    return stays


def _add_derived_values(events: Sequence[Event], last: date | None) -> None:
    for place, event in enumerate(events):
        following = events[place + 1] if place + 1 < len(events) else None
        previous = events[place - 1] if place else None
        event.values.update(
            days=(event.finish - event.start).days,
            days_to_next=following and (following.start - event.finish).days,
            days_since_previous=previous and (event.start - previous.finish).days,
            days_to_last=last and (last - event.finish).days,
        )


def _evaluate_person(
    cohort: Cohort,
    name: Any,  # Any: a key of text or a whole number
    person: Row,
    sets: EventSets,
) -> list[dict[str, Any]]:
    events = {known: own.get(name, ()) for known, own in sets.items()}
    days = _find_index_days(cohort, events)
    if not days:
        left_at = 2 if satisfies(AllOf(cohort.population), person) else 1
        return [{"person": name, "index_date": None, "left_at": left_at}]
    return [_evaluate_day(cohort, name, person, sets, events, day) for day in days]


def _evaluate_day(
    cohort: Cohort,
    name: Any,  # Any: a key of text or a whole number
    person: Row,
    sets: EventSets,
    events: Mapping[str, Sequence[Event]],
    day: date,
) -> dict[str, Any]:
    row: dict[str, Any] = {"person": name, "index_date": day}
    values = {
        measure: _evaluate_measure(cohort, measure, day, person, events)
        for measure in cohort.measures()
    }
    for column in cohort.columns:
        row[column.name] = _format_value(column.form, values[column.measure])
    data_days = None
    if cohort.follow_up is not None:
        data_days = _data_days(cohort, cohort.follow_up, day, sets)
        row.update(_evaluate_follow_up(cohort.follow_up, day, data_days, events))
    kept = [satisfies(AllOf(cohort.population), person), True]
    for criterion in cohort.include:
        kept.append(satisfies(criterion.condition, {"value": values[criterion.measure]}))
    for criterion in cohort.exclude:
        kept.append(not satisfies(criterion.condition, {"value": values[criterion.measure]}))
    if cohort.follow_up is not None and cohort.follow_up.whole and data_days is not None:
        kept.append(data_days >= cohort.follow_up.days)
    row["left_at"] = kept.index(False) + 1 if False in kept else 0
    return row


def _find_index_days(cohort: Cohort, events: Mapping[str, Sequence[Event]]) -> list[date]:
    index = cohort.index
    days = sorted({_index_day(cohort, event) for event in events[index.events]})

    def qualifies(day: date) -> bool:
        if (index.since and day < index.since) or (index.until and day > index.until):
            return False
        if any(0 < (day - other).days <= index.washout_days for other in days):
            return False
        if index.observed is None:
            return True
        spans = cohort.base_events(index.observed).end is not None
        return any(
            (day - seen.start).days >= index.lookback_days and (not spans or seen.finish >= day)
            for seen in events[index.observed]
        )

    found = [day for day in days if qualifies(day)]
    if index.pick == "each":
        return found
    return found[:1] if index.pick == "first" else found[-1:]


def _index_day(cohort: Cohort, event: Event) -> date:
    return event.start if cohort.index.at == "start" else event.finish


def _evaluate_measure(
    cohort: Cohort,
    measure: Measure,
    day: date,
    person: Row,
    events: Mapping[str, Sequence[Event]],
) -> Any:  # Any: a value of the measure's type
    column = measure.column or ""
    match measure.kind:
        case MeasureKind.AGE:
            born = person[PERSON_SOURCES[cohort.model].birth_year]
            return day.year - born if born is not None and born <= day.year else None
        case MeasureKind.PERSON:
            return person[column]
        case MeasureKind.INDEX_PERIOD:
            return period_label(day, column)
        case MeasureKind.INDEX:
            columns = event_columns(cohort, cohort.base_events(cohort.index.events).name)
            found = [e for e in events[cohort.index.events] if _index_day(cohort, e) == day]
            return min(found, key=lambda event: event.order(columns)).values.get(column)
    window, zero = measure.window, day
    if window.from_start:
        zero = min(e.start for e in events[cohort.index.events] if _index_day(cohort, e) == day)
    seen = [
        ((event.start - day).days, event)
        for event in events[measure.events or ""]
        if (window.from_days is None or (event.start - zero).days >= window.from_days)
        and (window.to_days is None or (event.start - zero).days <= window.to_days)
        and (not cohort.point_in_time or is_known(event, day))
    ]
    days = [since_index for since_index, _ in seen]
    dated = [
        (since_index, event.values[column])
        for since_index, event in seen
        if event.values.get(column) is not None
    ]
    values = [value for _, value in dated]
    match measure.kind:
        case MeasureKind.COUNT:
            return len(seen)
        case MeasureKind.DISTINCT:
            return len(set(values))
        case MeasureKind.FIRST_DAY:
            return min(days, default=None)
        case MeasureKind.LAST_DAY:
            return max(days, default=None)
        case MeasureKind.TOTAL_DAYS:
            return sum(event.values["days"] for _, event in seen)
        case MeasureKind.SMALLEST:
            return min(values, default=None)
        case MeasureKind.LARGEST:
            return max(values, default=None)
        case MeasureKind.EARLIEST:
            return min(dated)[1] if dated else None
        case _:
            return max(dated)[1] if dated else None


def is_known(event: Event, day: date) -> bool:
    """Say whether an event is known on a day, and counts: of cohorts that are point in time."""
    return event.finish <= day and (event.until is None or event.until > day)


def _data_days(cohort: Cohort, follow_up: FollowUp, day: date, sets: EventSets) -> int | None:
    if follow_up.data_until is None:
        return None
    until = follow_up.data_until
    if isinstance(until, str):
        until = max(event.start for own in sets[cohort.index.events].values() for event in own)
    return (until - day).days


def _evaluate_follow_up(
    follow_up: FollowUp,
    day: date,
    data_days: int | None,
    events: Mapping[str, Sequence[Event]],
) -> dict[str, Any]:
    def first_day(name: str, least: int) -> int | None:
        days = [(event.start - day).days for event in events[name]]
        return min((found for found in days if found >= least), default=None)

    ends = [follow_up.days, data_days, *(first_day(name, 0) for name in follow_up.censor)]
    end = max(0, min(known for known in ends if known is not None))
    row: dict[str, Any] = {"follow_up_days": end}
    for outcome in follow_up.outcomes:
        first = first_day(outcome.events, outcome.from_days)
        happened = first is not None and first <= end
        row[outcome.name] = "yes" if happened else "no"
        row[f"{outcome.name}_days"] = first if happened else end
    return row


def _format_value(form: Form, value: Any) -> Any:  # Any: a value of any of the language's types
    match form:
        case AsBoolean(condition=condition):
            return "yes" if satisfies(condition, {"value": value}) else "no"
        case AsBands(edges=edges):
            if value is None:
                return NOT_RECORDED
            return band_labels(edges)[sum(value >= edge for edge in edges)]
        case AsCategories(values=values):
            if value is None:
                return NOT_RECORDED
            return str(value) if str(value) in values else OTHER
        case AsTopCodes():
            return None if value is None else str(value)
    return value


def satisfies(condition: Condition, row: Row) -> bool:
    """Say whether a condition holds of a row's values."""
    match condition:
        case OneOf(column=column, values=values):
            return row[column] is not None and row[column] in values
        case StartsWith(column=column, prefixes=prefixes):
            return row[column] is not None and row[column].startswith(prefixes)
        case Between(column=column, low=low, high=high):
            value = row[column]
            if value is None:
                return False
            return (low is None or value >= _match_type(low, value)) and (
                high is None or value <= _match_type(high, value)
            )
        case IsRecorded(column=column):
            return row[column] is not None
        case Not(condition=inner):
            return not satisfies(inner, row)
        case AnyOf(conditions=parts):
            return any(satisfies(part, row) for part in parts)
        case AllOf(conditions=parts):
            return all(satisfies(part, row) for part in parts)


def _match_type(bound: Any, value: Any) -> Any:  # Any: numbers, or days
    return float(bound) if isinstance(value, float) else bound


def _convert_row(raw: Row, source: Source) -> Row:
    return {
        name: None if (value := raw.get(name)) is None else _convert_value(value, kind)
        for name, kind in source.columns.items()
    }


def _convert_value(
    value: Any, kind: ValueType
) -> Any:  # Any: a value of any of the language's types
    if kind is ValueType.DATE_TEXT:
        match = _FULL_DAY.fullmatch(value)
        if match is None:
            return None
        try:
            return date.fromisoformat(match[1])
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.date()
    if kind is ValueType.NUMBER:
        return None if math.isnan(value) else float(value)
    return value
