"""FHIR dates and times as half-open terms in epoch milliseconds, on Hong Kong's calendar.

A date without a time is a whole day of Asia/Hong_Kong, which has had no summer time since 1979;
the time zone database still knows the older ones, so clinical dates of any age are right.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

HONG_KONG = ZoneInfo("Asia/Hong_Kong")

_PATTERN = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)"
    r"(T(?P<clock>\d\d:\d\d:\d\d)(?P<fraction>\.\d+)?(?P<zone>Z|[+-]\d\d:\d\d))?)?)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day_start_ms(day: date) -> int:
    """Return the first millisecond of a day in Hong Kong.

    >>> day_start_ms(date(2026, 1, 1))
    1767196800000
    """
    return to_ms(datetime.combine(day, time(), HONG_KONG))


def to_ms(instant: datetime) -> int:
    """Return an aware datetime as epoch milliseconds, exactly (no floating point)."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def span(text: str) -> tuple[int, int]:
    """Return the half-open interval that a FHIR dateTime covers at its own precision.

    A period's end includes everything that matches it (R4 Period), so a term ends where the
    interval of its `end` does.

    >>> span("2026-01-01") == (1767196800000, 1767196800000 + 86_400_000)
    True
    >>> span("2026-01-01T00:00:00+08:00")
    (1767196800000, 1767196801000)
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError("not a FHIR dateTime with a time zone where it has a time")
    if match["clock"]:
        return _instant_span(match)
    year, month, day = int(match["year"]), match["month"], match["day"]
    first = date(year, int(month or 1), int(day or 1))
    if day:
        after = first + timedelta(days=1)
    elif month:
        after = date(year + first.month // 12, first.month % 12 + 1, 1)
    else:
        after = date(year + 1, 1, 1)
    return day_start_ms(first), day_start_ms(after)


# The lines of one encounter bear the same time.
@lru_cache(4096)
def hong_kong_day(text: str) -> date | None:
    """Return the Hong Kong day of a FHIR dateTime; None when it is not known to the day.

    >>> hong_kong_day("2025-12-31T20:00:00Z")
    datetime.date(2026, 1, 1)
    """
    match = _PATTERN.fullmatch(text)
    if match is None or not match["day"]:
        return None
    try:
        if not match["clock"]:
            return date.fromisoformat(text)
        return datetime.fromisoformat(text).astimezone(HONG_KONG).date()
    except (ValueError, OverflowError):
        return None


def anniversary(day: date, years: int) -> date:
    """Return the day on which someone born on `day` reaches an age; 29 February gives 1 March.

    >>> anniversary(date(2008, 2, 29), 18)
    datetime.date(2026, 3, 1)
    """
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)


def _instant_span(match: re.Match[str]) -> tuple[int, int]:
    start = to_ms(datetime.fromisoformat(match[0]))
    return start, start + (1 if match["fraction"] else 1000)
