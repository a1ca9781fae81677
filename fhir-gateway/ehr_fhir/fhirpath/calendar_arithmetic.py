"""Date/time arithmetic: a date or time plus a duration (FHIRPath N1 §6.7).

The result has the precision of the left operand. The fraction of a duration is dropped for every
unit, seconds too: N1 keeps it for seconds, but by HL7's R4 test suite `0.1 's'` adds nothing.
"""

from __future__ import annotations

import calendar
import datetime as dt
from fractions import Fraction
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.quantity import SECONDS_PER_UNIT, Quantity, calendar_unit
from ehr_fhir.fhirpath.temporal import Date, DateTime, Temporal, Time

__all__ = ["add_duration"]

# UCUM codes that mean the same as a calendar duration. `a` and `mo` are missing on purpose: UCUM's
# year is 365.25 days and its month a twelfth of that, so §6.7 forbids them here.
_UCUM_TO_CALENDAR = {
    "wk": "week",
    "d": "day",
    "h": "hour",
    "min": "minute",
    "s": "second",
    "ms": "millisecond",
}
_NANOSECONDS = 10**9  # per second
_NANOSECONDS_PER_DAY = 86400 * _NANOSECONDS
# Chosen: in every unit but milliseconds (32 years) more than the years 1 to 9999 hold, so that a
# longer duration has no result anyway. It bounds the work on a number of hundreds of digits.
_MAX_AMOUNT = 10**12


def add_duration(temporal: Temporal, duration: Quantity, sign: int) -> list[Any]:
    """Add a duration to a date or time (sign 1), or subtract it (sign -1).

    The result is empty beyond the years 1 to 9999. Raises Invalid for a unit that is no duration.

    >>> from decimal import Decimal
    >>> from ehr_fhir.fhirpath.temporal import parse_date
    >>> [str(date) for date in add_duration(
    ...     parse_date("2024-01-31"), Quantity(Decimal(1), "month", calendar=True), 1)]
    ['2024-02-29']
    """
    unit = calendar_unit(duration.unit)
    if not unit and not duration.calendar:
        unit = _UCUM_TO_CALENDAR.get(duration.unit)
    if not unit:
        raise Invalid(f"A date moves by a calendar duration, not by `{duration.unit[:40]}`.")
    if abs(duration.value) > _MAX_AMOUNT:
        return []
    amount = int(duration.value) * sign
    if isinstance(temporal, Time):
        if unit not in SECONDS_PER_UNIT:
            raise Invalid(f"A time of day does not move by a {unit}.")
        return [_add_to_time(temporal, amount * SECONDS_PER_UNIT[unit])]
    try:
        if unit in SECONDS_PER_UNIT:
            return [_add_seconds(temporal, amount * SECONDS_PER_UNIT[unit])]
        return [_add_months(temporal, amount * (12 if unit == "year" else 1))]
    except (ValueError, OverflowError):
        return []


def _add_months(temporal: Temporal, months: int) -> Temporal:
    """Add calendar months; a day that the new month lacks becomes its last day (§6.7)."""
    if len(temporal.parts) == 1:
        years = _truncate(Fraction(months, 12))
        return _replace_parts(temporal, (temporal.parts[0] + years,))
    year, month = temporal.parts[:2]
    year, month_index = divmod(year * 12 + month - 1 + months, 12)
    month = month_index + 1
    # A slice, because a month (`@2014-02`) has no day.
    day = temporal.parts[2:3]
    if day:
        day = (min(day[0], calendar.monthrange(year, month)[1]),)
    return _replace_parts(temporal, (year, month, *day, *temporal.parts[3:]))


def _add_seconds(temporal: Temporal, seconds: Fraction) -> Temporal:
    """Add a duration of fixed length, truncated to whole units of the date's precision."""
    precision = len(temporal.parts)
    if precision < 3:
        # §6.7 converts to the precision of a partial date: a year is 365 days and a month 30.
        days = seconds / 86400
        if precision == 1:
            return _add_months(temporal, _truncate(days / 365) * 12)
        return _add_months(temporal, _truncate(days / 30))
    nanoseconds = _truncate_to_precision(seconds, precision - 3)
    hour, minute, second = (*temporal.parts[3:], 0, 0, 0)[:3]
    day_number = dt.date(*temporal.parts[:3]).toordinal()
    since_midnight = ((hour * 60 + minute) * 60 + second) * _NANOSECONDS + temporal.nanoseconds
    total = day_number * _NANOSECONDS_PER_DAY + since_midnight + nanoseconds
    day_number, since_midnight = divmod(total, _NANOSECONDS_PER_DAY)
    date = dt.date.fromordinal(day_number)
    parts = (date.year, date.month, date.day, *_clock_parts(since_midnight))[:precision]
    return _replace_parts(temporal, parts, since_midnight % _NANOSECONDS)


def _add_to_time(time: Time, seconds: Fraction) -> Temporal:
    """Add to a time of day, which wraps around at midnight (§6.7)."""
    start, _ = time.span()
    precision = len(time.parts)
    since_midnight = (start + _truncate_to_precision(seconds, precision)) % _NANOSECONDS_PER_DAY
    parts = _clock_parts(since_midnight)[:precision]
    return _replace_parts(time, parts, since_midnight % _NANOSECONDS)


def _truncate_to_precision(seconds: Fraction, clock_parts: int) -> int:
    """Return nanoseconds in whole days (0 clock parts), hours (1) or minutes (2), or as is (3)."""
    unit = (_NANOSECONDS_PER_DAY, 3600 * _NANOSECONDS, 60 * _NANOSECONDS, 1)[clock_parts]
    return _truncate(seconds * _NANOSECONDS / unit) * unit


def _truncate(number: Fraction) -> int:
    return int(number)  # towards zero, so that subtracting truncates as adding does


def _clock_parts(nanoseconds: int) -> tuple[int, int, int]:
    """Return hour, minute and second of the nanoseconds since midnight."""
    seconds = nanoseconds // _NANOSECONDS
    return seconds // 3600, seconds // 60 % 60, seconds % 60


def _replace_parts(
    temporal: Temporal, parts: tuple[int, ...], nanoseconds: int | None = None
) -> Temporal:
    """Return a value of the same type and time zone with other parts.

    Raises ValueError for a year outside 1 to 9999, which `add_duration` turns into no result.
    """
    if not 1 <= parts[0] <= 9999 and not isinstance(temporal, Time):
        raise ValueError
    if isinstance(temporal, Date):
        return Date(parts)
    datatype = Time if isinstance(temporal, Time) else DateTime
    fraction = temporal.nanoseconds if nanoseconds is None else nanoseconds
    digits = max(temporal.digits, 3) if fraction else temporal.digits
    return datatype(parts, fraction, digits, temporal.zone)
