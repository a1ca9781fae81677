"""The periods of open datasets: months, days and hours of the place's wall clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal

__all__ = ["PERIOD_FORMS", "Period", "PeriodKind"]

PeriodKind = Literal["month", "day", "hour"]
# How each is written, from the longest to the shortest; a shorter one lies within a longer.
PERIOD_FORMS: Mapping[str, str] = MappingProxyType(
    {"month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H"}
)


@dataclass(frozen=True, order=True)
class Period:
    """A month, a day or an hour; `begin` is its first instant.

    >>> june = Period.parse("2026-06", "month")
    >>> june.end, june.days, str(june.before), Period.parse("2026-06-30T23", "hour") in june
    (datetime.datetime(2026, 7, 1, 0, 0), 30.0, '2026-05', True)
    """

    begin: datetime
    kind: str

    @classmethod
    def around(cls, instant: datetime, kind: str) -> Period:
        """Return the period of a kind that an instant of the wall clock lies in."""
        return cls.parse(instant.strftime(PERIOD_FORMS[kind]), kind)

    @classmethod
    def parse(cls, text: str, kind: str) -> Period:
        """Return a period as it is written."""
        return cls(datetime.strptime(text, PERIOD_FORMS[kind]), kind)

    @property
    def end(self) -> datetime:
        """The first instant after it."""
        if self.kind == "month":
            return (self.begin + timedelta(days=31)).replace(day=1)
        return self.begin + timedelta(**{f"{self.kind}s": 1})

    @property
    def days(self) -> float:
        """How many days it has; an hour is a part of one."""
        return (self.end - self.begin) / timedelta(days=1)

    @property
    def before(self) -> Period:
        """The period before it, of the same kind."""
        return Period.around(self.begin - timedelta(microseconds=1), self.kind)

    def __contains__(self, other: Period) -> bool:
        return self.begin <= other.begin and other.end <= self.end

    def __str__(self) -> str:
        return self.begin.strftime(PERIOD_FORMS[self.kind])
