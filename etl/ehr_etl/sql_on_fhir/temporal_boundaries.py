"""Boundaries of dates and times: the first and last value a text may stand for (lowBoundary)."""

from __future__ import annotations

from ehr_etl.sql_on_fhir.expressions import (
    Choose,
    Expression,
    let,
    number,
    operation,
    text,
)
from ehr_etl.sql_on_fhir.temporal_spans import CLOCK, TIME
from ehr_etl.sql_on_fhir.values import Value, single_value


def boundary(value: Value, *, high: bool) -> Expression:
    """Return the text of the first or last date or time that a value may mean."""
    single = single_value(value)
    if value.type == "time":
        return let(single, lambda time: _time_boundary(time, high=high))
    if value.type == "date":
        return let(single, lambda date: _date_boundary(date, high=high))
    return let(single, lambda instant: _instant_boundary(instant, high=high))


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
        return operation("extract_pattern", instant, text(CLOCK), number(group))

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
        return operation("extract_pattern", time, text(TIME), number(group))

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
