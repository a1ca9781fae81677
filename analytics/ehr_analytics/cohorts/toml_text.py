"""Cohorts as TOML: every key is known, every fault is named with its place."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Set
from datetime import date
from decimal import Decimal
from pathlib import Path
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
    AsNumber,
    AsTopCodes,
    Cohort,
    Column,
    Criterion,
    Events,
    FollowUp,
    Form,
    Index,
    Measure,
    MeasureKind,
    Outcome,
    Window,
)
from ehr_analytics.cohorts.labels import list_periods
from ehr_fhir.errors import NotFound, Unprocessable

__all__ = ["load_cohort", "parse_cohort"]

Table = Mapping[str, Any]  # Any: TOML's values, each checked where it is read
_MEASURE_KEYS = frozenset(
    {"name", "kind", "column", "events", "from_days", "to_days", "counted_from"}
)
_TEST_KEYS = frozenset({"in", "starts_with", "from", "to", "recorded", "not"})


def load_cohort(path: Path) -> Cohort:
    """Read a cohort's file; Unprocessable names what is wrong with it."""
    try:
        document = tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        raise NotFound(f"The cohort file {path.name} cannot be read.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unprocessable(f"The cohort file {path.name} is not TOML: {error}.") from error
    return parse_cohort(document)


def parse_cohort(document: Table) -> Cohort:
    """Return the cohort of a parsed TOML document.

    >>> parse_cohort({"name": "seen", "index": {"events": "visits"},
    ...     "events": {"visits": {"table": "encounter_flat", "date": "start"}}}).index.pick
    'first'
    """
    known = {"name", "title", "model", "population", "events", "index", "include", "exclude"}
    _require_keys(document, known | {"column", "follow_up"}, "the cohort")
    index = _parse_index(_read(document, "index", dict, "the cohort"))
    return Cohort(
        name=_read(document, "name", str, "the cohort"),
        title=_read(document, "title", str, "the cohort", document.get("name")),
        model=_read(document, "model", str, "the cohort", "views"),
        events=tuple(
            _parse_events(name, table)
            for name, table in _read(document, "events", dict, "the cohort").items()
        ),
        index=index,
        population=_parse_conditions(document.get("population", []), "population"),
        include=_parse_criteria(document, "include"),
        exclude=_parse_criteria(document, "exclude"),
        columns=tuple(
            _parse_column(table, index) for table in _read(document, "column", list, "", [])
        ),
        follow_up=_parse_follow_up(document.get("follow_up")),
    )


def _parse_events(name: str, table: Table) -> Events:
    place = f"events.{name}"
    known = {"table", "date", "end", "where", "merge_gap_days", "of", "keep", "until"}
    _require_keys(table, known, place)
    return Events(
        name=name,
        table=_read(table, "table", str, place, None),
        date=_read(table, "date", str, place, None),
        end=_read(table, "end", str, place, None),
        where=_parse_conditions(table.get("where", []), f"{place}.where"),
        merge_gap=_read(table, "merge_gap_days", int, place, None),
        of=_read(table, "of", str, place, None),
        keep=_parse_conditions(table.get("keep", []), f"{place}.keep"),
        until=_read(table, "until", str, place, None),
    )


def _parse_index(table: Table) -> Index:
    known = {"events", "pick", "at", "since", "until", "washout_days", "lookback_days", "observed"}
    _require_keys(table, known, "index")
    return Index(
        events=_read(table, "events", str, "index"),
        pick=_read(table, "pick", str, "index", "first"),
        at=_read(table, "at", str, "index", "start"),
        since=_read(table, "since", date, "index", None),
        until=_read(table, "until", date, "index", None),
        washout_days=_read(table, "washout_days", int, "index", 0),
        lookback_days=_read(table, "lookback_days", int, "index", 0),
        observed=_read(table, "observed", str, "index", None),
    )


def _parse_criteria(document: Table, key: str) -> tuple[Criterion, ...]:
    criteria = []
    for table in _read(document, key, list, "the cohort", []):
        _require_keys(table, _MEASURE_KEYS | _TEST_KEYS, key)
        measure = _parse_measure(table, key)
        test = _parse_test(table, key)
        if test is None:
            if measure.kind is not MeasureKind.COUNT:
                raise Unprocessable(f"{key} {table.get('name')} says nothing of its value.")
            test = Between("value", 1)
        criteria.append(Criterion(_read(table, "name", str, key), measure, test))
    return tuple(criteria)


def _parse_column(table: Table, index: Index) -> Column:
    place = f"column {table.get('name')}"
    forms = {"bands", "values", "top"}
    _require_keys(table, _MEASURE_KEYS | _TEST_KEYS | forms, place)
    measure, test = _parse_measure(table, place), _parse_test(table, place)
    if len(forms & table.keys()) + (test is not None) > 1:
        raise Unprocessable(f"{place} is shown in more than one form.")
    form: Form
    if test is not None:
        form = AsBoolean(test)
    elif measure.kind is MeasureKind.INDEX_PERIOD:
        if index.since is None or index.until is None or index.since > index.until:
            raise Unprocessable(f"{place} needs index.since and index.until.")
        form = AsCategories(list_periods(index.since, index.until, measure.column or "month"))
    elif "bands" in table:
        form = AsBands(_read_all(table, "bands", int, place))
    elif "values" in table:
        form = AsCategories(_read_all(table, "values", str, place))
    elif "top" in table:
        form = AsTopCodes(_read(table, "top", int, place))
    else:
        form = AsNumber()
    return Column(_read(table, "name", str, place), measure, form)


def _parse_measure(table: Table, place: str) -> Measure:
    kind = _read(table, "kind", str, place)
    if kind not in list(MeasureKind):
        raise Unprocessable(
            f"{place} is of kind {kind!r}, which is none of {', '.join(MeasureKind)}."
        )
    counted_from = _read(table, "counted_from", str, place, "index")
    if counted_from not in ("index", "start"):
        raise Unprocessable(f"{place} has a `counted_from` that is neither index nor start.")
    window = Window(
        _read(table, "from_days", int, place, None),
        _read(table, "to_days", int, place, None),
        counted_from == "start",
    )
    return Measure(
        MeasureKind(kind),
        _read(table, "column", str, place, None),
        _read(table, "events", str, place, None),
        window,
    )


def _parse_follow_up(table: Table | None) -> FollowUp | None:
    if table is None:
        return None
    place = "follow_up"
    _require_keys(table, {"days", "data_until", "censor", "outcome", "whole"}, place)
    data_until = table.get("data_until")
    if not (data_until in (None, "latest") or type(data_until) is date):
        raise Unprocessable("follow_up.data_until is a date, or `latest`.")
    outcomes = []
    for outcome in _read(table, "outcome", list, place, []):
        _require_keys(outcome, {"name", "events", "from_days"}, "outcome")
        outcomes.append(
            Outcome(
                _read(outcome, "name", str, "outcome"),
                _read(outcome, "events", str, "outcome"),
                _read(outcome, "from_days", int, "outcome", 1),
            )
        )
    return FollowUp(
        days=_read(table, "days", int, place),
        data_until=data_until,
        censor=_read_all(table, "censor", str, place) if "censor" in table else (),
        outcomes=tuple(outcomes),
        whole=_read(table, "whole", bool, place, False),
    )


def _parse_conditions(tables: Any, place: str) -> tuple[Condition, ...]:
    # Any: TOML's value, which need not be a list of tables
    if not isinstance(tables, list):
        raise Unprocessable(f"{place} is a list of conditions.")
    return tuple(_parse_condition(table, place) for table in tables)


def _parse_condition(table: Any, place: str) -> Condition:  # Any: TOML's value
    if not isinstance(table, dict):
        raise Unprocessable(f"{place} is a list of conditions.")
    for key, kind in (("any", AnyOf), ("all", AllOf)):
        if key in table:
            _require_keys(table, {key, "not"}, place)
            parts: Condition = kind(_parse_conditions(table[key], place))
            return Not(parts) if _read(table, "not", bool, place, False) else parts
    _require_keys(table, _TEST_KEYS | {"column"}, place)
    column = _read(table, "column", str, place)
    condition = _parse_test(table, place, column)
    if condition is None:
        raise Unprocessable(f"{place} says nothing of {column}.")
    return condition


def _parse_test(table: Table, place: str, column: str = "value") -> Condition | None:
    """Return the condition that a table's keys say of a column; None where they say none."""
    tests: list[Condition] = []
    if "in" in table:
        tests.append(OneOf(column, _read_all(table, "in", (str, int, bool), place)))
    if "starts_with" in table:
        tests.append(StartsWith(column, _read_all(table, "starts_with", str, place)))
    if "from" in table or "to" in table:
        bound = (int, Decimal, date)
        low = _read(table, "from", bound, place, None)
        tests.append(Between(column, low, _read(table, "to", bound, place, None)))
    if "recorded" in table:
        recorded = IsRecorded(column)
        tests.append(recorded if _read(table, "recorded", bool, place) else Not(recorded))
    if not tests:
        return None
    condition = tests[0] if len(tests) == 1 else AllOf(tuple(tests))
    return Not(condition) if _read(table, "not", bool, place, False) else condition


_REQUIRED: Any = object()


def _read(
    table: Table, key: str, kind: type | tuple[type, ...], place: str, default: Any = _REQUIRED
) -> Any:  # Any: a value of one of the kinds
    value = table.get(key, default)
    if value is _REQUIRED:
        raise Unprocessable(f"{place} lacks `{key}`.")
    if key in table and not _is_of(value, kind):
        raise Unprocessable(f"{place} has a `{key}` of the wrong type.")
    return value


def _read_all(
    table: Table, key: str, kind: type | tuple[type, ...], place: str
) -> tuple[Any, ...]:  # Any: values of one of the kinds
    values = table[key]
    if not isinstance(values, list) or not values or not all(_is_of(v, kind) for v in values):
        raise Unprocessable(f"{place} has a `{key}` that is no list of the right type.")
    return tuple(values)


def _is_of(value: object, kind: type | tuple[type, ...]) -> bool:
    # True is an int to Python, and a date-time a date.
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return type(value) in kinds


def _require_keys(table: Any, known: Set[str], place: str) -> None:
    # Any: TOML's value, which need not be a table
    if not isinstance(table, dict):
        raise Unprocessable(f"{place} is no table.")
    unknown = sorted(table.keys() - known)
    if unknown:
        raise Unprocessable(f"{place} has the key {', '.join(unknown)}, which is not known.")
