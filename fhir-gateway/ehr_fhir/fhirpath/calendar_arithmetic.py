"""A date or time plus a duration (FHIRPath N1 §6.7), kept to the precision the date had.

What a duration has after the point is dropped for every unit, seconds too, as HL7's suite has it.
"""

from __future__ import annotations

import calendar
import datetime as dt
from fractions import Fraction
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.quantity import SECONDS, Quantity, calendar_unit
from ehr_fhir.fhirpath.temporal import Date, DateTime, Temporal, Time

__all__ = ["add"]

# Codes of UCUM that are of fixed length; its mean year (a) and month (mo) are not of the calendar.
_CODES = {
    "wk": "week",
    "d": "day",
    "h": "hour",
    "min": "minute",
    "s": "second",
    "ms": "millisecond",
}
_NANO = 10**9
_DAY = 86400 * _NANO
_MAX_AMOUNT = 10**12


def add(moment: Temporal, quantity: Quantity, sign: int) -> list[Any]:
    """Return the moment moved by a duration, or nothing beyond the years 1 to 9999."""
    word = calendar_unit(quantity.unit) or (not quantity.calendar and _CODES.get(quantity.unit))
    if not word:
        raise Invalid(f"A date moves by a calendar duration, not by `{quantity.unit[:40]}`.")
    if abs(quantity.value) > _MAX_AMOUNT:
        return []
    amount = int(quantity.value) * sign
    if isinstance(moment, Time):
        if word not in SECONDS:
            raise Invalid(f"A time of day does not move by a {word}.")
        return [_turned(moment, amount * SECONDS[word])]
    try:
        if word in SECONDS:
            return [_moved(moment, amount * SECONDS[word])]
        return [_shifted(moment, amount * (12 if word == "year" else 1))]
    except (ValueError, OverflowError):
        return []


def _shifted(moment: Temporal, months: int) -> Temporal:
    """Move by months; the 31st of a shorter month is its last day."""
    if len(moment.parts) == 1:
        return _like(moment, (moment.parts[0] + _whole(Fraction(months, 12)),))
    year, month = moment.parts[:2]
    year, month = divmod(year * 12 + month - 1 + months, 12)
    day = moment.parts[2:3]
    if day:
        day = (min(day[0], calendar.monthrange(year, month + 1)[1]),)
    return _like(moment, (year, month + 1, *day, *moment.parts[3:]))


def _moved(moment: Temporal, seconds: Fraction) -> Temporal:
    """Move by a fixed length, first cut to whole steps of the moment's precision."""
    precision = len(moment.parts)
    if precision < 3:
        # A year counts 365 days and a month 30 where only they are known.
        days = seconds / 86400
        return _shifted(moment, _whole(days / 365) * 12 if precision == 1 else _whole(days / 30))
    nanos = _cut(seconds, precision - 3)
    clock = (*moment.parts[3:], 0, 0, 0)[:3]
    start = dt.date(*moment.parts[:3]).toordinal()
    total = start * _DAY + ((clock[0] * 60 + clock[1]) * 60 + clock[2]) * _NANO + moment.nanos
    ordinal, rest = divmod(total + nanos, _DAY)
    day = dt.date.fromordinal(ordinal)
    parts = (day.year, day.month, day.day, *_clock(rest))[:precision]
    return _like(moment, parts, rest % _NANO)


def _turned(moment: Time, seconds: Fraction) -> Temporal:
    """Move a time of day, past midnight into the same day again."""
    start = moment.span()[0]
    rest = (start + _cut(seconds, len(moment.parts))) % _DAY
    return _like(moment, _clock(rest)[: len(moment.parts)], rest % _NANO)


def _cut(seconds: Fraction, precision: int) -> int:
    """Return nanoseconds, in whole days, hours, minutes or as they are."""
    step = (_DAY, 3600 * _NANO, 60 * _NANO, 1)[precision]
    return _whole(seconds * _NANO / step) * step


def _whole(number: Fraction) -> int:
    return int(number)  # towards zero


def _clock(nanos: int) -> tuple[int, int, int]:
    seconds = nanos // _NANO
    return seconds // 3600, seconds // 60 % 60, seconds % 60


def _like(moment: Temporal, parts: tuple[int, ...], nanos: int | None = None) -> Temporal:
    if not 1 <= parts[0] <= 9999 and not isinstance(moment, Time):
        raise ValueError
    kind = Time if isinstance(moment, Time) else DateTime
    if isinstance(moment, Date):
        return Date(parts)
    fraction = moment.nanos if nanos is None else nanos
    digits = max(moment.digits, 3) if fraction else moment.digits
    return kind(parts, fraction, digits, moment.zone)
