"""Checks of a cohort before it runs: names, types, windows, and the bounds on labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import cast

from ehr_analytics.cohorts.conditions import (
    Between,
    Comparison,
    Condition,
    IsRecorded,
    OneOf,
    StartsWith,
    iterate_comparisons,
)
from ehr_analytics.cohorts.definition import (
    DERIVED_COLUMNS,
    AsBands,
    AsBoolean,
    AsCategories,
    AsNumber,
    AsTopCodes,
    Cohort,
    Column,
    Events,
    Measure,
    MeasureKind,
    Window,
)
from ehr_analytics.cohorts.labels import column_domain
from ehr_analytics.cohorts.sources import PERSON_SOURCES, Source, ValueType
from ehr_fhir.errors import Unprocessable

__all__ = ["MAX_LABELS", "check_cohort", "event_types", "measure_type", "person_types"]

# Chosen: a table that a person can read. Labels are what could carry more than counts out.
MAX_LABELS = 120
_MAX_TOP = 50
_MAX_EVENT_SETS = 40
_MAX_MEASURES = 100
# A century: more than a life, and far from where the engines' dates end.
_MAX_DAYS = 36_525

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TITLE = re.compile(r"[^\x00-\x1f]{1,200}")
# Read as the same text by every engine's SQL: no quote, no backslash, no control character.
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029'\"\\\ud800-\udfff]{1,100}")
_RESERVED = frozenset({"person", "index_date", "left_at", "follow_up_days"})
_TEXT_TYPES = (ValueType.TEXT, ValueType.CODE)
_NUMBER_TYPES = (ValueType.INTEGER, ValueType.NUMBER)
_COUNTS = (MeasureKind.COUNT, MeasureKind.FIRST_DAY, MeasureKind.LAST_DAY, MeasureKind.TOTAL_DAYS)
_VALUES = (
    *(MeasureKind.DISTINCT, MeasureKind.SMALLEST, MeasureKind.LARGEST),
    *(MeasureKind.EARLIEST, MeasureKind.LATEST),
)
_UNITS = ("year", "quarter", "month")
# Derived from events that come later.
_FUTURE = ("days_to_next", "days_to_last")


def check_cohort(cohort: Cohort, sources: Mapping[str, Source]) -> None:
    """Raise Unprocessable, with the place, for a cohort that these tables cannot give."""
    if cohort.model not in PERSON_SOURCES:
        raise Unprocessable("A cohort's model is views or omop.")
    if PERSON_SOURCES[cohort.model].table not in sources:
        raise Unprocessable(f"The table {PERSON_SOURCES[cohort.model].table} is not there.")
    _check_names(cohort)
    for events in cohort.events:
        _check_events(cohort, events, sources)
    _check_index(cohort)
    _check_point_in_time(cohort)
    _check_conditions(cohort.population, person_types(cohort, sources), "population")
    if len(cohort.measures()) > _MAX_MEASURES:
        raise Unprocessable(f"A cohort has at most {_MAX_MEASURES} measures.")
    for criterion in (*cohort.include, *cohort.exclude):
        _require_text(criterion.name, _TITLE, "The name of a criterion")
        kind = _check_measure(cohort, criterion.measure, sources)
        _check_conditions((criterion.condition,), {"value": kind}, criterion.name)
    for column in cohort.columns:
        _check_column(cohort, column, sources)
    _check_follow_up(cohort)


def event_types(
    cohort: Cohort, name: str, sources: Mapping[str, Source]
) -> Mapping[str, ValueType]:
    """Return the types of the columns of a set of events, the derived ones among them."""
    table = cohort.base_events(name).table or ""
    return {**sources[table].columns, **dict.fromkeys(DERIVED_COLUMNS, ValueType.INTEGER)}


def person_types(cohort: Cohort, sources: Mapping[str, Source]) -> Mapping[str, ValueType]:
    """Return the types of the columns of the table of persons."""
    return sources[PERSON_SOURCES[cohort.model].table].columns


def measure_type(cohort: Cohort, measure: Measure, sources: Mapping[str, Source]) -> ValueType:
    """Return the type of a measure's values."""
    match measure.kind:
        case MeasureKind.PERSON:
            types = person_types(cohort, sources)
        case MeasureKind.INDEX:
            types = event_types(cohort, cohort.index.events, sources)
        case MeasureKind.SMALLEST | MeasureKind.LARGEST | MeasureKind.EARLIEST | MeasureKind.LATEST:
            types = event_types(cohort, measure.events or "", sources)
        case MeasureKind.INDEX_PERIOD:
            return ValueType.TEXT
        case _:
            return ValueType.INTEGER
    if measure.column is None or measure.column not in types:
        raise Unprocessable(f"There is no column {measure.column!r} for {measure.kind}.")
    return types[measure.column]


def _check_names(cohort: Cohort) -> None:
    _require_text(cohort.name.replace("-", "_"), _NAME, "A cohort's name")
    _require_text(cohort.title, _TITLE, "A cohort's title")
    if not 0 < len(cohort.events) <= _MAX_EVENT_SETS:
        raise Unprocessable(f"A cohort has 1 to {_MAX_EVENT_SETS} sets of events.")
    outcomes = cohort.follow_up.outcomes if cohort.follow_up else ()
    # An outcome gives a second column, of its days.
    results = [column.name for column in cohort.columns]
    results += [name for outcome in outcomes for name in (outcome.name, f"{outcome.name}_days")]
    for names in ([events.name for events in cohort.events], results):
        for name in names:
            _require_text(name, _NAME, "A name")
        repeated = {name for name in names if names.count(name) > 1} | (_RESERVED & {*names})
        if repeated:
            raise Unprocessable(f"The name {sorted(repeated)[0]} is taken twice.")
    criteria = [criterion.name for criterion in (*cohort.include, *cohort.exclude)]
    if len(set(criteria)) < len(criteria):
        raise Unprocessable("Two criteria have the same name.")


def _check_events(cohort: Cohort, events: Events, sources: Mapping[str, Source]) -> None:
    place = f"events.{events.name}"
    if (events.table is None) == (events.of is None):
        raise Unprocessable(f"{place} is made of a table, or of other events: one of them.")
    if events.of is not None:
        earlier = [other.name for other in cohort.events[: cohort.events.index(events)]]
        if events.of not in earlier:
            raise Unprocessable(f"{place} is made of {events.of}, which is not listed before it.")
        own = (events.date, events.end, events.where, events.until)
        if any(own) or events.merge_gap is not None:
            raise Unprocessable(f"{place} is made of other events: it has only `keep`.")
    else:
        source = sources.get(events.table or "")
        if source is None:
            raise Unprocessable(f"{place} reads {events.table}, which is no table of persons here.")
        for column in (events.date, events.end):
            if column is None and events.date is not None:
                continue
            if not source.columns.get(column or "", ValueType.KEY).is_date:
                raise Unprocessable(f"{place} needs a date: {column} is no date of {source.name}.")
        until = events.until
        if until is not None and not source.columns.get(until, ValueType.KEY).is_date:
            raise Unprocessable(f"{place}.until: {until} is no date of {source.name}.")
        _check_conditions(events.where, source.columns, f"{place}.where")
    if events.merge_gap is not None:
        _require_days(events.merge_gap, 0, f"{place}.merge_gap_days")
        if events.end is None:
            raise Unprocessable(f"{place} merges events, which need an `end`.")
        if events.until is not None:
            raise Unprocessable(f"{place} merges events, which have no `until`.")
    _check_conditions(events.keep, event_types(cohort, events.name, sources), f"{place}.keep")


def _check_index(cohort: Cohort) -> None:
    index = cohort.index
    _require_events(cohort, index.events, "index")
    if index.pick not in ("first", "last", "each"):
        raise Unprocessable("index.pick is first or last, or each of a model.")
    if index.at not in ("start", "end"):
        raise Unprocessable("index.at is start or end.")
    _require_days(index.washout_days, 0, "index.washout_days")
    _require_days(index.lookback_days, 0, "index.lookback_days")
    if (index.observed is None) != (index.lookback_days == 0):
        raise Unprocessable("index.lookback_days and index.observed come together.")
    if index.observed is not None:
        _require_events(cohort, index.observed, "index.observed")
    for day in (index.since, index.until):
        _require_date(day, "index")


def _check_point_in_time(cohort: Cohort) -> None:
    """Refuse what is for models alone in a cohort of research, and the future in one of a model."""
    index = cohort.index
    if not cohort.point_in_time:
        measured = any(measure.window.from_start for measure in cohort.measures())
        for found, what in (
            (index.pick == "each", "index.pick = each"),
            (index.at == "end", "index.at = end"),
            (any(events.until for events in cohort.events), "until"),
            (measured, "counted_from = start"),
        ):
            if found:
                raise Unprocessable(
                    f"{what} is for prediction models: a cohort of research has one row per person."
                )
        return
    if index.at == "end" and cohort.base_events(index.events).end is None:
        raise Unprocessable("index.at = end needs events with an `end`.")
    read = {index.events, *(m.events for m in cohort.measures() if m.events)}
    for events in cohort.events:
        if events.name in _list_bases(cohort, read):
            for condition in events.keep:
                for comparison in iterate_comparisons(condition):
                    if comparison.column in _FUTURE:
                        raise Unprocessable(
                            f"events.{events.name}.keep asks for {comparison.column}, which nobody "
                            "knows at the time of a prediction."
                        )
    for measure in cohort.measures():
        if (measure.window.to_days or 0) > 0 and not measure.window.from_start:
            raise Unprocessable(f"{measure.kind} of {measure.events} looks past the index date.")
        at_start = measure.kind is MeasureKind.INDEX and index.at == "start"
        if measure.column in _FUTURE or (at_start and measure.column == "days"):
            raise Unprocessable(f"Nobody knows {measure.column} at the time of a prediction.")


def _list_bases(cohort: Cohort, names: Iterable[str]) -> frozenset[str]:
    """Return sets of events with all that they are made of."""
    found: set[str] = set()
    for name in names:
        following: str | None = name
        while following is not None and following not in found:
            found.add(following)
            following = cohort.find_events(following).of
    return frozenset(found)


def _check_measure(cohort: Cohort, measure: Measure, sources: Mapping[str, Source]) -> ValueType:
    kind = measure.kind
    needs_events = kind in (*_COUNTS, *_VALUES)
    needs_column = kind in (*_VALUES, MeasureKind.PERSON, MeasureKind.INDEX)
    if needs_events != (measure.events is not None):
        raise Unprocessable(f"{kind} is {'of' if needs_events else 'not of'} a set of events.")
    if needs_column != (measure.column is not None) and kind is not MeasureKind.INDEX_PERIOD:
        raise Unprocessable(f"{kind} is {'of' if needs_column else 'not of'} a column.")
    if kind is MeasureKind.INDEX_PERIOD and measure.column not in _UNITS:
        raise Unprocessable(f"The column of index_period is one of {', '.join(_UNITS)}.")
    if not needs_events and measure.window != Window():
        raise Unprocessable(f"{kind} has no days from and to.")
    if measure.events is not None:
        _require_events(cohort, measure.events, kind)
        if kind is MeasureKind.TOTAL_DAYS and cohort.base_events(measure.events).end is None:
            raise Unprocessable("total_days is of events with an `end`.")
    for day in (measure.window.from_days, measure.window.to_days):
        _require_days(day or 0, -_MAX_DAYS, kind)
    value = measure_type(cohort, measure, sources)
    if kind is MeasureKind.DISTINCT:
        column = event_types(cohort, measure.events or "", sources).get(measure.column or "")
        if column not in (*_TEXT_TYPES, ValueType.CONCEPT, ValueType.INTEGER):
            raise Unprocessable(f"Different values of {measure.column} are not counted.")
    if kind in (MeasureKind.SMALLEST, MeasureKind.LARGEST) and value not in _NUMBER_TYPES:
        raise Unprocessable(f"{kind} is of a number.")
    # A model's frame says which organisation a row is of.
    is_key = value is ValueType.KEY and not cohort.point_in_time
    if is_key or value.is_date:
        raise Unprocessable(f"{measure.column} is a {value}: it is no measure of a person.")
    return value


def _check_column(cohort: Cohort, column: Column, sources: Mapping[str, Source]) -> None:
    value = _check_measure(cohort, column.measure, sources)
    place = f"column {column.name}"
    match column.form:
        case AsBoolean(condition=condition):
            _check_conditions((condition,), {"value": value}, place)
            return
        case AsNumber():
            fits = value in _NUMBER_TYPES
        case AsBands(edges=edges):
            fits = value in _NUMBER_TYPES
            if not edges or list(edges) != sorted(set(edges)) or max(map(abs, edges)) > 10**9:
                raise Unprocessable(f"{place} has bands whose edges do not rise.")
        case AsCategories(values=values):
            fits = value in (*_TEXT_TYPES, ValueType.CONCEPT)
            for label in values:
                _require_text(label, _TEXT, f"A category of {place}")
            if len(set(values)) < len(values):
                raise Unprocessable(f"{place} lists a category twice.")
        case AsTopCodes(most=most):
            fits = value in (ValueType.CODE, ValueType.CONCEPT)
            if cohort.point_in_time:
                fits = fits or value in (ValueType.TEXT, ValueType.KEY)
            if not 0 < most <= _MAX_TOP:
                raise Unprocessable(f"{place} shows 1 to {_MAX_TOP} codes.")
    if not fits:
        raise Unprocessable(f"{place} cannot show a {value} in this form.")
    if len(column_domain(cohort, column)) > MAX_LABELS:
        raise Unprocessable(f"{place} has more than {MAX_LABELS} labels.")


def _check_follow_up(cohort: Cohort) -> None:
    follow_up = cohort.follow_up
    if follow_up is None:
        return
    _require_days(follow_up.days, 1, "follow_up.days")
    if isinstance(follow_up.data_until, date):
        _require_date(follow_up.data_until, "follow_up")
    if follow_up.whole and follow_up.data_until is None:
        raise Unprocessable("follow_up.whole needs follow_up.data_until.")
    for name in follow_up.censor:
        _require_events(cohort, name, "follow_up.censor")
    for outcome in follow_up.outcomes:
        _require_events(cohort, outcome.events, f"outcome {outcome.name}")
        _require_days(outcome.from_days, 0, f"outcome {outcome.name}")


def _check_conditions(
    conditions: Iterable[Condition], types: Mapping[str, ValueType], place: str
) -> None:
    for condition in conditions:
        for comparison in iterate_comparisons(condition):
            if comparison.column not in types:
                raise Unprocessable(f"{place} asks for {comparison.column}, which is not there.")
            if not _fits(comparison, types[comparison.column]):
                raise Unprocessable(
                    f"{place} asks of {comparison.column}, a {types[comparison.column]}, what "
                    "cannot be asked of it."
                )


def _fits(comparison: Comparison, value: ValueType) -> bool:
    match comparison:
        case OneOf(values=values):
            if value in _TEXT_TYPES:
                return all(isinstance(v, str) and _TEXT.fullmatch(v) for v in values)
            if value is ValueType.BOOLEAN:
                return all(isinstance(v, bool) for v in values)
            whole = all(type(v) is int and abs(v) < 2**53 for v in values)
            return value in (ValueType.INTEGER, ValueType.CONCEPT) and whole
        case StartsWith(prefixes=prefixes):
            return value in _TEXT_TYPES and all(_TEXT.fullmatch(v) for v in prefixes)
        case Between(low=low, high=high):
            bounds = [bound for bound in (low, high) if bound is not None]
            if value.is_date:
                return bool(bounds) and all(_is_date(bound) for bound in bounds)
            numbers = all(map(_is_number, bounds))
            return bool(bounds) and value in _NUMBER_TYPES and numbers
        case IsRecorded():
            return True
    return False


def _is_number(value: object) -> bool:
    # True is an int to Python; and a Decimal may be infinite.
    return type(value) in (int, Decimal) and abs(cast("Decimal", value)) < 10**15


def _require_events(cohort: Cohort, name: str, place: str) -> None:
    if name not in {events.name for events in cohort.events}:
        raise Unprocessable(f"{place} reads the events {name}, which are not there.")


def _require_days(days: int, least: int, place: str) -> None:
    if not least <= days <= _MAX_DAYS:
        raise Unprocessable(f"{place} has {days} days: {least} to {_MAX_DAYS} are allowed.")


def _require_date(day: date | None, place: str) -> None:
    if day is not None and not _is_date(day):
        raise Unprocessable(f"{place} has a date outside of the years 1000 to 9999.")


def _is_date(value: object) -> bool:
    return type(value) is date and value.year >= 1000


def _require_text(text: str, pattern: re.Pattern[str], what: str) -> None:
    if not pattern.fullmatch(text):
        raise Unprocessable(f"{what} is not allowed: {text[:40]!r}.")
