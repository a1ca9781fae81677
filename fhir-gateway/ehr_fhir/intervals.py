"""Dates and numbers as half-open intervals: a value says no more than its precision.

R4 §3.1.1.4.3. Instants are epoch milliseconds. A date without a zone is read in Hong Kong's, in
records and in queries alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from ehr_fhir.errors import Invalid

__all__ = [
    "BEGINNING",
    "END",
    "LOCAL_ZONE",
    "date_interval",
    "instant",
    "number_interval",
    "period_interval",
    "timing_interval",
]

# Hong Kong has kept +08:00 without summer time since 1979; a fixed offset keeps both sides alike.
LOCAL_ZONE = timezone(timedelta(hours=8))
# Open ends. Within 63 bits, so that every database takes them.
BEGINNING = -(2**60)
END = 2**60

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DATE = re.compile(
    r"^(\d{4})(?:-(\d{2})(?:-(\d{2})"
    r"(?:T(\d{2}):(\d{2})(?::(\d{2})(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?)?)?$"
)
_DAY = 86_400_000


# Of one record many lines bear the same time, and each in several parameters.
@lru_cache(4096)
def date_interval(text: str) -> tuple[int, int]:
    """Return the first millisecond of a FHIR date and the first one after it.

    >>> date_interval("1970-01-01T00:00:00Z")
    (0, 1000)
    >>> date_interval("1970-01-02") == (86_400_000 - 28_800_000, 2 * 86_400_000 - 28_800_000)
    True
    """
    if not (match := _DATE.match(text)):
        raise Invalid(
            "A date must have the form YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss±hh:mm."
        )
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        if hour is None:
            start = datetime(int(year), int(month or 1), int(day or 1), tzinfo=LOCAL_ZONE)
            return _milliseconds(start), _after(start, month, day)
        start = datetime(
            int(year), int(month), int(day), int(hour), int(minute), min(int(second or 0), 59),
            tzinfo=_zone(zone),
        )  # fmt: skip
    except (ValueError, OverflowError):
        raise Invalid("A date names a month, day, time or zone that does not exist.") from None
    low = _milliseconds(start)
    if fraction:
        low += int(float(fraction) * 1000 + 1e-6)
        return low, low + 1
    return low, low + (60_000 if second is None else 1000)


def instant(milliseconds: int) -> str:
    """Render epoch milliseconds as a FHIR instant in UTC.

    >>> instant(0)
    '1970-01-01T00:00:00.000Z'
    """
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
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


def number_interval(text: str) -> tuple[Decimal, Decimal, Decimal]:
    """Return a number and the limits within which it rounds to what is written.

    >>> number_interval("100")
    (Decimal('100'), Decimal('99.5'), Decimal('100.5'))
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise Invalid(
            "A number must be decimal digits, with an optional point and exponent."
        ) from None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(number.adjusted()) > 300:
        raise Invalid("A number must be finite and of a size that a measurement can have.")
    half = Decimal((0, (5,), exponent - 1))
    return number, number - half, number + half


def _after(start: datetime, month: str | None, day: str | None) -> int:
    if day is not None:
        return _milliseconds(start) + _DAY
    if month is not None and start.month < 12:
        return _milliseconds(start.replace(month=start.month + 1))
    if start.year == 9999:
        return END
    return _milliseconds(start.replace(year=start.year + 1, month=1))


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND


def _zone(text: str | None) -> timezone:
    if text is None:
        return LOCAL_ZONE
    if text == "Z":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text[0] == "-" else offset)
