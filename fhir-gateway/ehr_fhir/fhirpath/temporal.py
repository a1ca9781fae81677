"""Date, DateTime and Time of any precision (FHIRPath N1 §4.1): `@2014-02` is a month, not a day.

Values of different precision are compared as intervals of time: a comparison that an unknown part
could change has no result (§6.2). A value without a time zone may stand in any zone when it is
compared with one that has a zone.
"""

from __future__ import annotations

import calendar
import datetime as dt
from dataclasses import dataclass
from functools import lru_cache

from ehr_fhir.dates import read_date, read_time

__all__ = [
    "PART_NAMES",
    "Date",
    "DateTime",
    "Temporal",
    "Time",
    "compare_temporals",
    "parse_date",
    "parse_datetime",
    "parse_time",
]

PART_NAMES = ("year", "month", "day", "hour", "minute", "second")
_SECOND = 10**9  # in nanoseconds, in which spans are counted
_DAY = 86400 * _SECOND
_MAX_OFFSET = 14 * 60  # minutes from UTC, by the regular expression of R4's dateTime
# The extreme time zones, UTC+14 and UTC-12, as in the boundary functions.
_EASTERNMOST, _WESTERNMOST = 14 * 3600 * _SECOND, 12 * 3600 * _SECOND


@dataclass(frozen=True, slots=True)
class Temporal:
    """A date or time as its known parts, the largest first: (2014, 2) is February 2014.

    The fraction of a second is in `nanoseconds`, and `digits` says how many digits of it are known.
    """

    parts: tuple[int, ...]
    nanoseconds: int = 0
    digits: int = 0
    zone: int | None = None  # time zone offset in minutes east of UTC; None if unknown

    def span(self) -> tuple[int, int]:
        """Return the first and last nanosecond that the value may mean, in UTC if it has a zone.

        Seconds and their fraction are one precision (§6.2), so that a value with seconds is one
        instant. Nanoseconds count from the start of the year 1.
        """
        start = _to_nanoseconds(self.parts, self.nanoseconds)
        if len(self.parts) == 6:
            end = start
        elif len(self.parts) >= 3:
            end = start + (_DAY, 3600 * _SECOND, 60 * _SECOND)[len(self.parts) - 3] - 1
        else:
            year, month = (*self.parts, 12)[:2]
            last = calendar.monthrange(year, month)[1]
            end = _to_nanoseconds((year, month, last), 0) + _DAY - 1
        shift = (self.zone or 0) * 60 * _SECOND
        return start - shift, end - shift

    def __str__(self) -> str:
        year, *rest = self.parts
        text = f"{year:04}" + "".join(f"-{part:02}" for part in rest[:2])
        return text + self._format_clock(self.parts[3:])

    def _format_clock(self, parts: tuple[int, ...]) -> str:
        if not parts:
            return ""
        fraction = f".{self.nanoseconds:09}"[: self.digits + 1] if self.digits else ""
        return "T" + ":".join(f"{part:02}" for part in parts) + fraction + self._format_offset()

    def _format_offset(self) -> str:
        if self.zone is None:
            return ""
        if self.zone == 0:
            return "Z"
        return f"{'-' if self.zone < 0 else '+'}{abs(self.zone) // 60:02}:{abs(self.zone) % 60:02}"


class Date(Temporal):
    """A year, a month or a day.

    >>> str(parse_date("2014-02"))
    '2014-02'
    """

    __slots__ = ()


class DateTime(Temporal):
    """A date that may have a time of day and a zone."""

    __slots__ = ()

    @classmethod
    def from_datetime(cls, instant: dt.datetime) -> DateTime:
        """Convert a Python date-time to the millisecond, with its own time zone."""
        offset = instant.utcoffset()
        zone = None if offset is None else int(offset.total_seconds() // 60)
        parts = (*instant.timetuple()[:6],)
        return cls(parts, instant.microsecond // 1000 * 10**6, 3, zone)


class Time(Temporal):
    """A time of day, without a date or a zone."""

    __slots__ = ()

    def span(self) -> tuple[int, int]:
        """Return the first and last nanosecond that the value may mean, counted from midnight."""
        hour, minute, second = (*self.parts, 0, 0)[:3]
        start = (hour * 3600 + minute * 60 + second) * _SECOND + self.nanoseconds
        return start, start + (3600 * _SECOND, 60 * _SECOND, 1)[len(self.parts) - 1] - 1

    def __str__(self) -> str:
        return self._format_clock(self.parts)[1:]


@lru_cache(8192)
def parse_date(text: str) -> Date | None:
    """Parse a date, or return None for other text."""
    parsed = read_date(text)
    return Date(parsed.parts) if parsed and len(parsed.parts) <= 3 else None


@lru_cache(8192)
def parse_datetime(text: str) -> DateTime | None:
    """Parse a date-time, or return None for other text.

    The `T` that FHIRPath puts after a date-time without an hour may be there or not.

    >>> str(parse_datetime("2015-02-04T14:34:28.10+10:00"))
    '2015-02-04T14:34:28.10+10:00'
    """
    parsed = read_date(text.removesuffix("T"))
    if parsed is None or abs(parsed.offset or 0) > _MAX_OFFSET:
        return None
    return DateTime(parsed.parts, parsed.nanoseconds, parsed.digits, parsed.offset)


@lru_cache(8192)
def parse_time(text: str) -> Time | None:
    """Parse a time of day, or return None for other text."""
    parsed = read_time(text)
    return Time(parsed.parts, parsed.nanoseconds, parsed.digits) if parsed else None


def compare_temporals(left: Temporal, right: Temporal) -> int | None:
    """Return -1, 0 or 1 for the order of two dates or times (§6.2); None if precision hides it.

    >>> compare_temporals(parse_date("2018-03"), parse_date("2018-04-01"))
    -1
    >>> compare_temporals(parse_date("2018-03"), parse_date("2018-03-01")) is None
    True
    """
    left_start, left_end = left.span()
    right_start, right_end = right.span()
    if (left.zone is None) != (right.zone is None):
        if left.zone is None:
            left_start, left_end = left_start - _EASTERNMOST, left_end + _WESTERNMOST
        else:
            right_start, right_end = right_start - _EASTERNMOST, right_end + _WESTERNMOST
    elif len(left.parts) == len(right.parts):
        # Of the same precision, they are compared part by part, not as intervals.
        return (left_start > right_start) - (left_start < right_start)
    if left_end < right_start:
        return -1
    return 1 if left_start > right_end else None


def _to_nanoseconds(parts: tuple[int, ...], nanoseconds: int) -> int:
    """Return nanoseconds since the start of the year 1, with unknown parts at their least."""
    year, month, day, hour, minute, second = (*parts, *(1, 1, 1, 0, 0, 0)[len(parts) :])
    days = dt.date(year, month, day).toordinal()
    return days * _DAY + (hour * 3600 + minute * 60 + second) * _SECOND + nanoseconds
