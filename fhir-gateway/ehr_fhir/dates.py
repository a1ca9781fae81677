"""FHIR's date, dateTime and instant: read once, for search, consent and FHIRPath alike.

A date says no more than its precision: `2026` is a year, `2026-01-01` a day (R4 §2.24.0.1). As an
interval it runs from its first millisecond to the first one after it, in epoch milliseconds (R4
§3.1.1.4.7). What has no time zone of its own lies in the jurisdiction's, by that zone's history:
Many places had summer time, other zones in a war, and local mean time before there were zones.

FHIRPath compares differently where a zone is missing (N1 §6.2), so `fhirpath.temporal` takes the
parts from here, and not the interval.
"""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple

from ehr_fhir.errors import Invalid
from ehr_fhir.jurisdiction import JURISDICTION

__all__ = [
    "BEGINNING",
    "END",
    "DateParts",
    "date_interval",
    "datetime_interval",
    "day_of_ms",
    "day_start_ms",
    "format_instant",
    "local_day",
    "period_interval",
    "read_date",
    "read_time",
    "timing_interval",
]

# The zone of what has none: the one default, and every function takes another.
_LOCAL: tzinfo = JURISDICTION.zone
# Open ends. Within 63 bits, so that every database takes them.
BEGINNING = -(2**60)
END = 2**60

# A leap second is written 60 (R4's regex of instant and time).
_CLOCK = r"([01]\d|2[0-3])(?::([0-5]\d)(?::([0-5]\d|60)(?:\.(\d+))?)?)?"
_OFFSET = r"(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_DATE = re.compile(
    rf"(\d{{4}})(?:-(0[1-9]|1[0-2])(?:-([0-3]\d)(?:T{_CLOCK}{_OFFSET}?)?)?)?", re.ASCII
)
_TIME = re.compile(_CLOCK, re.ASCII)
# The groups of a date.
_YEAR, _MONTH, _DAY, _HOUR, _SECOND, _FRACTION, _ZONE = 1, 2, 3, 4, 6, 7, 8

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_LAST_DAY = date.max.toordinal()
_MILLISECOND = timedelta(milliseconds=1)
_LEAP = timedelta(seconds=1)
_DAY_MS, _HOUR_MS, _MINUTE_MS, _SECOND_MS = 86_400_000, 3_600_000, 60_000, 1000
_LAST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


class DateParts(NamedTuple):
    """What a date says: year, month, day, hour, minute, second, as far as they are written."""

    parts: tuple[int, ...]
    nanoseconds: int = 0
    digits: int = 0  # of the fraction of a second, nine at most
    offset: int | None = None  # minutes east of UTC


def read_date(text: str) -> DateParts | None:
    """Read a date of any precision; None for what is no date, or names a day that does not exist.

    A time may lack seconds, minutes and zone, as FHIRPath and search have it; R4's datatypes may
    not (`datetime_interval`).

    >>> read_date("2026-11"), read_date("2026-02-30")
    (DateParts(parts=(2026, 11), nanoseconds=0, digits=0, offset=None), None)
    """
    match = _DATE.fullmatch(text)
    return None if match is None else _parts(match)


def read_time(text: str) -> DateParts | None:
    """Read a time of day; its parts are hour, minute and second, as far as they are written.

    >>> read_time("14:30").parts, read_time("24:00")
    ((14, 30), None)
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    *clock, fraction = match.groups()
    return DateParts(_clock(*clock), *_fraction(fraction))


# Of one record many lines bear the same time, and each in several parameters.
@lru_cache(4096)
def date_interval(text: str, zone: tzinfo = _LOCAL) -> tuple[int, int]:
    """Return the first millisecond of a date and the first one after it.

    A time may lack its seconds and its zone, as search has it.

    >>> date_interval("1970-01-01T00:00:00Z")
    (0, 1000)
    >>> date_interval("1970-01-02", UTC) == (86_400_000, 2 * 86_400_000)
    True
    """
    match = _DATE.fullmatch(text)
    found = None if match is None or match.lastindex == _HOUR else _interval(match, zone)
    if found is None:
        raise Invalid(
            "A date must have the form YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss±hh:mm,"
            " and its day and time must exist."
        )
    return found


def datetime_interval(text: str, zone: tzinfo = _LOCAL) -> tuple[int, int]:
    """Return the interval of R4's date, dateTime or instant: a time has its seconds and its zone.

    >>> datetime_interval("2026-01-01T00:00:00+08:00")
    (1767196800000, 1767196801000)
    """
    match = _DATE.fullmatch(text)
    found = _interval(match, zone) if match is not None and _is_datetime(match) else None
    if found is None:
        raise Invalid("A dateTime is a date that exists, or a time with its seconds and its zone.")
    return found


# The lines of one encounter bear the same time.
@lru_cache(4096)
def local_day(text: str, zone: tzinfo = _LOCAL) -> date | None:
    """Return the day of a dateTime in a zone; None when it is not known to the day.

    >>> from zoneinfo import ZoneInfo
    >>> local_day("2025-12-31T20:00:00Z", ZoneInfo("Asia/Hong_Kong"))
    datetime.date(2026, 1, 1)
    """
    match = _DATE.fullmatch(text)
    if match is None or match[_DAY] is None or not _is_datetime(match):
        return None
    try:
        if match.lastindex == _DAY:
            return date.fromisoformat(text)
        return _moment(match).astimezone(zone).date()
    except (ValueError, OverflowError):
        return None


def day_start_ms(day: date, zone: tzinfo = _LOCAL) -> int:
    """Return the first millisecond of a day in a zone.

    >>> day_start_ms(date(1970, 1, 2), UTC)
    86400000
    """
    return _midnight(day.toordinal(), zone)


def day_of_ms(milliseconds: int, zone: tzinfo = _LOCAL) -> date:
    """Return the day of an instant in a zone: the inverse of `day_start_ms`.

    >>> day_of_ms(day_start_ms(date(1946, 7, 1)))
    datetime.date(1946, 7, 1)
    """
    return (_EPOCH + milliseconds * _MILLISECOND).astimezone(zone).date()


def format_instant(milliseconds: int) -> str:
    """Render epoch milliseconds as a FHIR instant in UTC.

    What lies after the year 9999 has no FHIR form, and is its last millisecond.

    >>> format_instant(0), format_instant(END)
    ('1970-01-01T00:00:00.000Z', '9999-12-31T23:59:59.999Z')
    """
    moment = _EPOCH + timedelta(milliseconds=min(milliseconds, _LAST_MS))
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def period_interval(period: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the interval of a Period; a missing side is open, and an empty Period has none."""
    start, end = period.get("start"), period.get("end")
    if start is None and end is None:
        return None
    low = BEGINNING if start is None else date_interval(start)[0]
    return low, (END if end is None else date_interval(end)[1])


def timing_interval(timing: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the outer limits of a Timing: of its events, or else of its repeats."""
    events = [date_interval(event) for event in timing.get("event", ()) if event]
    if events:
        return min(low for low, _ in events), max(high for _, high in events)
    bounds = timing.get("repeat", {}).get("boundsPeriod")
    return period_interval(bounds) if bounds else None


def _is_datetime(match: re.Match[str]) -> bool:
    last = match.lastindex or 0
    return last <= _DAY or (last == _ZONE and match[_SECOND] is not None)


def _parts(match: re.Match[str]) -> DateParts | None:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    parts: tuple[int, ...] = (int(year),)
    if month is not None:
        parts = (int(year), int(month)) if day is None else (int(year), int(month), int(day))
    try:
        date(*(*parts, 1, 1)[:3])
    except ValueError:
        return None
    if hour is None:
        return DateParts(parts)
    return DateParts(parts + _clock(hour, minute, second), *_fraction(fraction), _minutes(zone))


def _clock(hour: str, minute: str | None, second: str | None) -> tuple[int, ...]:
    if minute is None:
        return (int(hour),)
    return (int(hour), int(minute)) if second is None else (int(hour), int(minute), int(second))


def _fraction(fraction: str | None) -> tuple[int, int]:
    """Return nanoseconds, and how many of their digits are written."""
    if fraction is None:
        return 0, 0
    return int(fraction[:9].ljust(9, "0")), min(len(fraction), 9)


def _minutes(zone: str | None) -> int | None:
    if zone is None:
        return None
    if zone == "Z":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:])
    return -minutes if zone[0] == "-" else minutes


def _interval(match: re.Match[str], zone: tzinfo) -> tuple[int, int] | None:
    """Return the interval of what has the form of a date; None where there is no such day."""
    try:
        if match.lastindex == _ZONE and match[_SECOND] is not None:
            start = (_moment(match) - _EPOCH) // _MILLISECOND
            return start, start + (_SECOND_MS if match[_FRACTION] is None else 1)
        if match[_HOUR] is None:
            year, month, day = int(match[_YEAR]), int(match[_MONTH] or 1), int(match[_DAY] or 1)
            first = date(year, month, day).toordinal()
            return _midnight(first, zone), _midnight(first + _days(match, year, month), zone)
    except (ValueError, OverflowError):
        return None
    found = _parts(match)
    return None if found is None else _clock_interval(found, zone)


def _clock_interval(found: DateParts, zone: tzinfo) -> tuple[int, int]:
    """Return the interval of a time without zone or seconds, as search has it."""
    year, month, day, hour, minute, second = (*found.parts, 0)[:6]
    start = (date(year, month, day).toordinal() - _EPOCH_DAY) * _DAY_MS
    start += hour * _HOUR_MS + minute * _MINUTE_MS + second * _SECOND_MS
    if found.offset is not None:
        start -= found.offset * _MINUTE_MS
    else:
        start -= _offset_ms(datetime(year, month, day, hour, minute, min(second, 59)), zone)
    if len(found.parts) == 5:
        return start, start + _MINUTE_MS
    start += found.nanoseconds // 10**6
    return start, start + (1 if found.digits else _SECOND_MS)


def _moment(match: re.Match[str]) -> datetime:
    """Return a time with seconds and zone, of which Python's own parser is the quickest."""
    if match[_SECOND] != "60":
        return datetime.fromisoformat(match[0])
    # A leap second is the second after it: time on computers has no other place for it.
    start, end = match.span(_SECOND)
    return datetime.fromisoformat(f"{match[0][:start]}59{match[0][end:]}") + _LEAP


def _days(match: re.Match[str], year: int, month: int) -> int:
    """Return how many days a year, a month or a day has."""
    if match[_DAY] is not None:
        return 1
    if match[_MONTH] is not None:
        return monthrange(year, month)[1]
    return 366 if isleap(year) else 365


def _midnight(ordinal: int, zone: tzinfo) -> int:
    # The day after 9999-12-31 is none of Python's; it is taken to begin as that one does.
    local = datetime.fromordinal(min(ordinal, _LAST_DAY))
    return (ordinal - _EPOCH_DAY) * _DAY_MS - _offset_ms(local, zone)


def _offset_ms(local: datetime, zone: tzinfo) -> int:
    offset = zone.utcoffset(local)
    assert offset is not None  # noqa: S101 - every zone of the time zone database has one
    return offset // _MILLISECOND
