"""Dates and times compared as spans of time, as `ehr_fhir.fhirpath.temporal` compares them.

A text becomes its first and last nanosecond, whether it has a zone, and how many of its parts are
known. What an unknown part could change has no result (FHIRPath N1 §6.2): `2015` against a day of
2015 is empty. A value without a zone may stand in any zone when it meets one that has a zone.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ehr_etl.sql_on_fhir.expressions import (
    FALSE,
    Cast,
    Choose,
    Constant,
    Expression,
    FieldOf,
    Struct,
    is_true,
    let,
    null,
    number,
    operation,
    text,
)
from ehr_etl.sql_on_fhir.types import BIGINT, BOOLEAN, HUGE, INTEGER
from ehr_etl.sql_on_fhir.values import Value, single_value
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.temporal import Temporal, parse_date, parse_datetime, parse_time

_SECOND = 10**9
_DAY = 86_400
_EASTERNMOST, _WESTERNMOST = 14 * 3600 * _SECOND, 12 * 3600 * _SECOND
# The engine counts from the year 1, SQL from 1970.
_EPOCH = dt.date(1970, 1, 1).toordinal() * _DAY * _SECOND
_CLOCK = r"T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.]([0-9]+))?)?(Z|[+-][0-9]{2}:[0-9]{2})?$"
_TIME = r"^([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.]([0-9]+))?)?$"
_DATE_TIME = r"^[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2}(?:T[0-9:.]+(?:Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?$"


@dataclass(frozen=True)
class _Span:
    """A value's first and last nanosecond, its zone and the number of its known parts."""

    start: Expression
    end: Expression
    zoned: Expression
    parts: Expression

    def struct(self) -> Struct:
        return Struct(
            (("start", self.start), ("end", self.end), ("zoned", self.zoned), ("parts", self.parts))
        )


def order(left: Value, right: Value) -> Expression:
    """Return -1, 0 or 1 for the order of two dates or times; NULL if precision hides it."""
    if (left.type == "time") != (right.type == "time"):
        raise Unprocessable(f"The path compares {left.type} with {right.type}.")
    return let(
        _span(left), lambda first: let(_span(right), lambda second: _order_spans(first, second))
    )


def boundary(value: Value, *, high: bool) -> Expression:
    """Return the text of the first or last date or time that a value may mean."""
    single = single_value(value)
    if value.type == "time":
        return let(single, lambda time: _time_boundary(time, high=high))
    if value.type == "date":
        return let(single, lambda date: _date_boundary(date, high=high))
    return let(single, lambda instant: _instant_boundary(instant, high=high))


def _order_spans(left: Expression, right: Expression) -> Expression:
    def field(span: Expression, name: str) -> Expression:
        return FieldOf(span, name)

    def widen_by_zone(span: Expression, other: Expression, name: str, width: int) -> Expression:
        unlike = operation("and", operation("not", field(span, "zoned")), field(other, "zoned"))
        moved = operation("add", field(span, name), Constant(width, HUGE))
        return Choose(unlike, moved, field(span, name))

    same_zones = operation("eq", field(left, "zoned"), field(right, "zoned"))
    same_parts = operation("eq", field(left, "parts"), field(right, "parts"))
    known_start = operation("is_present", field(left, "start"))
    start_order = _compare(field(left, "start"), field(right, "start"))
    before = operation(
        "lt",
        widen_by_zone(left, right, "end", _WESTERNMOST),
        widen_by_zone(right, left, "start", -_EASTERNMOST),
    )
    after = operation(
        "gt",
        widen_by_zone(left, right, "start", -_EASTERNMOST),
        widen_by_zone(right, left, "end", _WESTERNMOST),
    )
    apart = Choose(before, number(-1), Choose(after, number(1), null(INTEGER)))
    return Choose(
        operation("and", known_start, operation("is_present", field(right, "start"))),
        Choose(operation("and", same_zones, same_parts), start_order, apart),
        null(INTEGER),
    )


def _compare(left: Expression, right: Expression) -> Expression:
    return Choose(
        operation("lt", left, right),
        number(-1),
        Choose(operation("gt", left, right), number(1), number(0)),
    )


def _span(value: Value) -> Expression:
    if isinstance(value.expression, Constant) and isinstance(value.expression.value, str):
        return _constant_span(value.expression.value, value.type).struct()
    single = single_value(value)
    if value.type == "time":
        return let(single, lambda time: _time_span(time).struct())
    return let(single, lambda date: _date_span(date).struct())


def _constant_span(literal: str, type_name: str) -> _Span:
    parsed: Temporal | None = (
        parse_time(literal.removeprefix("T"))
        if type_name == "time"
        else parse_date(literal) or parse_datetime(literal)
    )
    if parsed is None:
        raise Unprocessable(f"The path compares with {literal!r}, which is no {type_name}.")
    first, last = parsed.span()
    shift = 0 if type_name == "time" else _EPOCH
    return _Span(
        Constant(first - shift, HUGE),
        Constant(last - shift, HUGE),
        Constant(parsed.zone is not None, BOOLEAN),
        number(len(parsed.parts)),
    )


def _date_span(value: Expression) -> _Span:
    """Return the span of a date's or date-time's text, which has seconds if it has an hour."""
    length = operation("length", value)
    valid = operation("matches", value, text(_DATE_TIME))
    has_clock = operation("gt", length, number(10))
    day = operation("substring", operation("concat", value, text("-01-01")), number(1), number(10))
    months = Choose(
        operation("eq", length, number(4)),
        number(12),
        Choose(operation("eq", length, number(7)), number(1), number(0)),
    )
    # A month ends before the first of the next; a day, before the next day.
    more_days = Choose(operation("gt", length, number(7)), number(1), number(0))
    start_seconds = _multiply(operation("days", day, number(0)), _DAY)
    end_seconds = _multiply(operation("add", operation("days", day, months), more_days), _DAY)
    clock = _clock_seconds(value, _CLOCK)
    offset = _offset_seconds(operation("extract_pattern", value, text(_CLOCK), number(5)))
    at = operation("subtract", operation("add", start_seconds, clock), offset)
    instant = operation("nanoseconds", at, _fraction(value, _CLOCK))
    last = operation("subtract", operation("nanoseconds", end_seconds, number(0)), number(1))
    seconds_known = operation(
        "ne", operation("extract_pattern", value, text(_CLOCK), number(3)), text("")
    )
    return _Span(
        Choose(
            valid,
            Choose(
                has_clock,
                Choose(seconds_known, instant),
                operation("nanoseconds", start_seconds, number(0)),
            ),
            null(HUGE),
        ),
        Choose(has_clock, instant, last),
        is_true(
            operation("ne", operation("extract_pattern", value, text(_CLOCK), number(5)), text(""))
        ),
        Choose(
            has_clock,
            number(6),
            Choose(
                operation("eq", length, number(4)),
                number(1),
                Choose(operation("eq", length, number(7)), number(2), number(3)),
            ),
        ),
    )


def _time_span(value: Expression) -> _Span:
    seconds = _clock_seconds(value, _TIME)
    start = operation("nanoseconds", Cast(seconds, BIGINT), _fraction(value, _TIME))
    known = operation("matches", value, text(_TIME))
    has_seconds = operation("gt", operation("length", value), number(5))
    minute = operation("add", start, Constant(60 * _SECOND - 1, HUGE))
    return _Span(
        Choose(known, start),
        Choose(known, Choose(has_seconds, start, minute)),
        FALSE,
        Choose(has_seconds, number(3), number(2)),
    )


def _clock_seconds(value: Expression, pattern: str) -> Expression:
    def part(group: int) -> Expression:
        found = operation("extract_pattern", value, text(pattern), number(group))
        return operation("coalesce", Cast(found, INTEGER, lenient=True), number(0))

    hours, minutes, seconds = part(1), part(2), part(3)
    return operation(
        "add", operation("add", _multiply(hours, 3600), _multiply(minutes, 60)), seconds
    )


def _offset_seconds(zone: Expression) -> Expression:
    def part(start: int) -> Expression:
        digits = operation("substring", zone, number(start), number(2))
        return operation("coalesce", Cast(digits, INTEGER, lenient=True), number(0))

    seconds = operation("add", _multiply(part(2), 3600), _multiply(part(5), 60))
    return Choose(operation("starts_with", zone, text("-")), operation("negate", seconds), seconds)


def _fraction(value: Expression, pattern: str) -> Expression:
    """Return the nanoseconds of a second's fraction."""
    digits = operation("extract_pattern", value, text(pattern), number(4))
    padded = operation(
        "substring", operation("concat", digits, text("000000000")), number(1), number(9)
    )
    return operation("coalesce", Cast(padded, INTEGER, lenient=True), number(0))


def _multiply(value: Expression, factor: int) -> Expression:
    return operation("multiply", Cast(value, BIGINT), Constant(factor, BIGINT))


def _date_boundary(date: Expression, *, high: bool) -> Expression:
    if not high:
        added = operation("concat", date, text("-01-01"))
        return operation("substring", added, number(1), number(10))
    length = operation("length", date)
    month = operation("substring", operation("concat", date, text("-12")), number(1), number(7))
    last = operation("last_day", operation("concat", month, text("-01")))
    return Choose(operation("lt", length, number(10)), last, date)


def _instant_boundary(instant: Expression, *, high: bool) -> Expression:
    """Return a date-time to the millisecond; without a zone in the extreme one."""
    day_only = operation("lt", operation("length", instant), number(11))
    clock = "T23:59:59.999-12:00" if high else "T00:00:00.000+14:00"
    completed = operation("concat", _date_boundary(instant, high=high), text(clock))

    def part(group: int) -> Expression:
        return operation("extract_pattern", instant, text(_CLOCK), number(group))

    zone = operation("coalesce", _not_blank(part(5)), text("-12:00" if high else "+14:00"))
    seconds = operation("coalesce", _not_blank(part(3)), text("59" if high else "00"))
    minute = operation("substring", instant, number(1), number(16))
    head = operation("concat", minute, text(":"))
    whole = operation("concat", operation("concat", head, seconds), text("."))
    fraction = _milliseconds(part(4), high=high)
    exact = operation("concat", operation("concat", whole, fraction), zone)
    return Choose(day_only, completed, exact)


def _time_boundary(time: Expression, *, high: bool) -> Expression:
    def part(group: int) -> Expression:
        return operation("extract_pattern", time, text(_TIME), number(group))

    head = operation("substring", time, number(1), number(5))
    seconds = operation("coalesce", _not_blank(part(3)), text("59" if high else "00"))
    whole = operation("concat", operation("concat", head, text(":")), seconds)
    fraction = operation("concat", text("."), _milliseconds(part(4), high=high))
    return operation("concat", whole, fraction)


def _milliseconds(digits: Expression, *, high: bool) -> Expression:
    padded = operation("substring", operation("concat", digits, text("000")), number(1), number(3))
    return Choose(operation("eq", digits, text("")), text("999" if high else "000"), padded)


def _not_blank(value: Expression) -> Expression:
    return operation("null_if", value, text(""))
