"""Faults of a record: the rule that is broken, and the elements that show it, never a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ehr_fhir.dates import datetime_interval
from ehr_fhir.errors import Invalid

__all__ = ["Fault", "Interval", "Resource", "find_elements", "read_interval"]

Resource = Mapping[str, Any]
# First millisecond, and the first one after it.
Interval = tuple[int, int]


@dataclass(frozen=True)
class Fault:
    """A broken rule, and the paths of the elements at fault and their neighbours.

    A path is of this record (`component[1].valueQuantity`) or of another one
    (`Patient/p1#birthDate`).
    """

    rule: str
    elements: tuple[str, ...] = ()


def find_elements(resource: Resource, path: str) -> Iterator[tuple[str, Any]]:
    """Yield each value at a path of JSON keys, with the path that names it in its lists.

    >>> list(find_elements({"a": [{"b": 1}, {"c": 2}, {"b": 3}]}, "a.b"))
    [('a[0].b', 1), ('a[2].b', 3)]
    """
    return _find(resource, path.split("."), "")


def _find(value: Any, keys: list[str], path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _find(item, keys, f"{path}[{number}]")
    elif not keys:
        yield path, value
    elif isinstance(value, dict) and keys[0] in value:
        name = f"{path}.{keys[0]}" if path else keys[0]
        yield from _find(value[keys[0]], keys[1:], name)


# The records of one visit bear the same times.
@lru_cache(8192)
def read_interval(text: object) -> Interval | None:
    """Return the interval of a date, dateTime or instant; None for what is none.

    A partial date is the whole of its year, month or day, in the place's time zone.
    """
    try:
        return datetime_interval(text) if isinstance(text, str) else None
    except Invalid:
        return None
