"""Spans of dates and times: the first and last nanosecond of a text, its zone and known parts.

As `ehr_fhir.fhirpath.temporal` reads them. A value without a zone may stand in any zone.
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
EASTERNMOST, WESTERNMOST = 14 * 3600 * _SECOND, 12 * 3600 * _SECOND
# The engine counts from the year 1, SQL from 1970.
_EPOCH = dt.date(1970, 1, 1).toordinal() * _DAY * _SECOND
CLOCK = r"T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.]([0-9]+))?)?(Z|[+-][0-9]{2}:[0-9]{2})?$"
TIME = r"^([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.]([0-9]+))?)?$"
DATE_TIME = r"^[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2}(?:T[0-9:.]+(?:Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?$"


@dataclass(frozen=True)
class Span:
    """A value's first and last nanosecond, its zone and the number of its known parts."""

    start: Expression
    end: Expression
    zoned: Expression
    parts: Expression

    def struct(self) -> Struct:
        return Struct(
            (("start", self.start), ("end", self.end), ("zoned", self.zoned), ("parts", self.parts))
        )


def build_span(value: Value) -> Expression:
    if isinstance(value.expression, Constant) and isinstance(value.expression.value, str):
        return _constant_span(value.expression.value, value.type).struct()
    single = single_value(value)
    if value.type == "time":
        return let(single, lambda time: _time_span(time).struct())
    return let(single, lambda date: _date_span(date).struct())


def _constant_span(literal: str, type_name: str) -> Span:
    parsed: Temporal | None = (
        parse_time(literal.removeprefix("T"))
        if type_name == "time"
        else parse_date(literal) or parse_datetime(literal)
    )
    if parsed is None:
        raise Unprocessable(f"The path compares with {literal!r}, which is no {type_name}.")
    first, last = parsed.span()
    shift = 0 if type_name == "time" else _EPOCH
    return Span(
        Constant(first - shift, HUGE),
        Constant(last - shift, HUGE),
        Constant(parsed.zone is not None, BOOLEAN),
        number(len(parsed.parts)),
    )


def _date_span(value: Expression) -> Span:
    """Return the span of a date's or date-time's text, which has seconds if it has an hour."""
    length = operation("length", value)
    valid = operation("matches", value, text(DATE_TIME))
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
    clock = _clock_seconds(value, CLOCK)
    offset = _offset_seconds(operation("extract_pattern", value, text(CLOCK), number(5)))
    at = operation("subtract", operation("add", start_seconds, clock), offset)
    instant = operation("nanoseconds", at, _fraction(value, CLOCK))
    last = operation("subtract", operation("nanoseconds", end_seconds, number(0)), number(1))
    seconds_known = operation(
        "ne", operation("extract_pattern", value, text(CLOCK), number(3)), text("")
    )
    return Span(
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
            operation("ne", operation("extract_pattern", value, text(CLOCK), number(5)), text(""))
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


def _time_span(value: Expression) -> Span:
    seconds = _clock_seconds(value, TIME)
    start = operation("nanoseconds", Cast(seconds, BIGINT), _fraction(value, TIME))
    known = operation("matches", value, text(TIME))
    has_seconds = operation("gt", operation("length", value), number(5))
    minute = operation("add", start, Constant(60 * _SECOND - 1, HUGE))
    return Span(
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
