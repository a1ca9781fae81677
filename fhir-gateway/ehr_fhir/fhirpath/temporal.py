"""Dates, date-times and times as far as they are known: `@2014-02` is a month, not its first day.

Two of them are compared as spans of time: a comparison that the unknown part could change has no
answer (FHIRPath N1 §6.2). A value without a time zone may stand in any zone when it is compared
with one that has.
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
_SECOND = 10**9  # spans are counted in nanoseconds
_DAY = 86400 * _SECOND
_FARTHEST = 14 * 60  # minutes that R4 lets a zone be from UTC
# The world's time zones, as the boundary functions of FHIRPath take them.
_EAST, _WEST = 14 * 3600 * _SECOND, 12 * 3600 * _SECOND


@dataclass(frozen=True, slots=True)
class Temporal:
    """The known parts, from the largest on; nanoseconds and how many digits of them are known."""

    parts: tuple[int, ...]
    nanoseconds: int = 0
    digits: int = 0
    zone: int | None = None  # minutes east of Greenwich

    def span(self) -> tuple[int, int]:
        """Return the first and the last nanosecond of the value, in UTC if its zone is known."""
        low = _instant(self.parts, self.nanoseconds)
        if len(self.parts) == 6:
            high = low
        elif len(self.parts) >= 3:
            high = low + (_DAY, 3600 * _SECOND, 60 * _SECOND)[len(self.parts) - 3] - 1
        else:
            year, month = (*self.parts, 12)[:2]
            last = calendar.monthrange(year, month)[1]
            high = _instant((year, month, last), 0) + _DAY - 1
        shift = (self.zone or 0) * 60 * _SECOND
        return low - shift, high - shift

    def __str__(self) -> str:
        year, *rest = self.parts
        text = f"{year:04}" + "".join(f"-{part:02}" for part in rest[:2])
        return text + self._clock(self.parts[3:])

    def _clock(self, parts: tuple[int, ...]) -> str:
        if not parts:
            return ""
        fraction = f".{self.nanoseconds:09}"[: self.digits + 1] if self.digits else ""
        return "T" + ":".join(f"{part:02}" for part in parts) + fraction + self._offset()

    def _offset(self) -> str:
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
    def of(cls, moment: dt.datetime) -> DateTime:
        """Return a clock's instant to the millisecond, in its own zone."""
        offset = moment.utcoffset()
        zone = None if offset is None else int(offset.total_seconds() // 60)
        parts = (*moment.timetuple()[:6],)
        return cls(parts, moment.microsecond // 1000 * 10**6, 3, zone)


class Time(Temporal):
    """A time of day, without a date or a zone."""

    __slots__ = ()

    def span(self) -> tuple[int, int]:
        """Return the first and the last nanosecond of the value since midnight."""
        hour, minute, second = (*self.parts, 0, 0)[:3]
        low = (hour * 3600 + minute * 60 + second) * _SECOND + self.nanoseconds
        return low, low + (3600 * _SECOND, 60 * _SECOND, 1)[len(self.parts) - 1] - 1

    def __str__(self) -> str:
        return self._clock(self.parts)[1:]


@lru_cache(8192)
def parse_date(text: str) -> Date | None:
    """Read a date, or nothing from what is not one."""
    found = read_date(text)
    return Date(found.parts) if found and len(found.parts) <= 3 else None


@lru_cache(8192)
def parse_datetime(text: str) -> DateTime | None:
    """Read a date-time, with or without its `T`, or nothing from what is not one.

    >>> str(parse_datetime("2015-02-04T14:34:28.10+10:00"))
    '2015-02-04T14:34:28.10+10:00'
    """
    found = read_date(text.removesuffix("T"))
    if found is None or abs(found.offset or 0) > _FARTHEST:
        return None
    return DateTime(found.parts, found.nanoseconds, found.digits, found.offset)


@lru_cache(8192)
def parse_time(text: str) -> Time | None:
    """Read a time of day, or nothing from what is not one."""
    found = read_time(text)
    return Time(found.parts, found.nanoseconds, found.digits) if found else None


def compare_temporals(left: Temporal, right: Temporal) -> int | None:
    """Return -1, 0 or 1, or None where the less precise value leaves it open.

    >>> compare_temporals(parse_date("2018-03"), parse_date("2018-04-01"))
    -1
    >>> compare_temporals(parse_date("2018-03"), parse_date("2018-03-01")) is None
    True
    """
    left_low, left_high = left.span()
    right_low, right_high = right.span()
    zones = (left.zone is None) + (right.zone is None)
    if zones == 1:
        if left.zone is None:
            left_low, left_high = left_low - _EAST, left_high + _WEST
        else:
            right_low, right_high = right_low - _EAST, right_high + _WEST
    elif len(left.parts) == len(right.parts):
        return (left_low > right_low) - (left_low < right_low)
    if left_high < right_low:
        return -1
    return 1 if left_low > right_high else None


def _instant(parts: tuple[int, ...], nanoseconds: int) -> int:
    year, month, day, hour, minute, second = (*parts, *(1, 1, 1, 0, 0, 0)[len(parts) :])
    days = dt.date(year, month, day).toordinal()
    return days * _DAY + (hour * 3600 + minute * 60 + second) * _SECOND + nanoseconds
