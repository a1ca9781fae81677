"""Values out of FHIR JSON: paths through lists, codings, references, dates in one time zone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

__all__ = [
    "Coding",
    "Moment",
    "find_values",
    "first_value",
    "list_codings",
    "parse_moment",
    "read_reference",
]

Json = Any  # JSON of every shape


@dataclass(frozen=True)
class Coding:
    """A code of a code system; `preferred` where the author chose it themselves."""

    system: str
    code: str
    preferred: bool = False


@dataclass(frozen=True)
class Moment:
    """A day, and the wall-clock time on it where one is known; both in the instance's zone."""

    day: date
    time: datetime | None = None


def find_values(element: Json, path: str) -> Iterator[Json]:
    """Yield the values at a path, through every list on its way.

    >>> list(find_values({"a": [{"b": 1}, {"b": [2, 3]}, {}]}, "a.b"))
    [1, 2, 3]
    """
    if isinstance(element, list):
        for item in element:
            yield from find_values(item, path)
        return
    if not path:
        yield element
        return
    name, _, rest = path.partition(".")
    if isinstance(element, Mapping) and name in element:
        yield from find_values(element[name], rest)


def first_value(element: Json, paths: Iterable[str]) -> Json:
    """Return the first value at the first path that has one; None without.

    >>> first_value({"b": 2}, ("a", "b"))
    2
    """
    return next((value for path in paths for value in find_values(element, path)), None)


def list_codings(value: Json, system: str = "") -> list[Coding]:
    """Return the codings of a CodeableConcept, a Coding, or a code of a fixed system.

    >>> list_codings({"coding": [{"system": "s", "code": "c"}, {"code": "no system"}]})
    [Coding(system='s', code='c', preferred=False)]
    """
    if isinstance(value, str):
        return [Coding(system, value)] if system else []
    if not isinstance(value, Mapping):
        return []
    codings = value.get("coding", [value] if "code" in value else [])
    return [
        Coding(coding["system"], coding["code"], coding.get("userSelected") is True)
        for coding in codings
        if isinstance(coding.get("system"), str) and isinstance(coding.get("code"), str)
    ]


def read_reference(value: Json) -> Json:
    """Return the `reference` of a Reference; None of any other value."""
    return value.get("reference") if isinstance(value, Mapping) else None


def parse_moment(value: Json, zone: ZoneInfo) -> Moment | None:
    """Read a FHIR date, dateTime or instant; None for a year or a month: no day is made up.

    A time is turned into the zone's own, and the day is the day there.

    >>> parse_moment("2026-03-01T20:30:00Z", ZoneInfo("Asia/Hong_Kong")).day.isoformat()
    '2026-03-02'
    >>> parse_moment("2026-03", ZoneInfo("Asia/Hong_Kong")) is None
    True
    """
    if not isinstance(value, str) or len(value) < 10:
        return None
    try:
        if len(value) == 10:
            return Moment(date.fromisoformat(value))
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is not None:
            instant = instant.astimezone(zone).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return Moment(instant.date(), instant)
