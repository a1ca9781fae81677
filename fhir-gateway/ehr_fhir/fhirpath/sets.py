"""Collections as wholes: equal, equivalent, and without repeats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from ehr_fhir.fhirpath.model import Element
from ehr_fhir.fhirpath.quantity import Quantity
from ehr_fhir.fhirpath.temporal import Temporal
from ehr_fhir.fhirpath.values import equal, equivalent, system

__all__ = ["Seen", "collections_equal", "collections_equivalent", "distinct"]


class Seen:
    """Items met so far; equal items count as one (FHIRPath N1 §6.1.1)."""

    def __init__(self, items: Iterable[object] = ()) -> None:
        self._keys: set[object] = set()
        self._others: list[object] = []
        for item in items:
            self.add(item)

    def add(self, item: object) -> bool:
        """Remember an item; return whether it is new."""
        key = _key(item)
        if key is None:
            if item in self:
                return False
            self._others.append(item)
            return True
        before = len(self._keys)
        self._keys.add(key)
        return len(self._keys) > before

    def __contains__(self, item: object) -> bool:
        key = _key(item)
        if key is not None:
            return key in self._keys
        return any(equal(item, other) for other in self._others)


def distinct(items: Iterable[Any]) -> list[Any]:
    """Return the items without repeats, in the order of their first.

    >>> distinct([1, Decimal("1.0"), "1", 1])
    [1, '1']
    """
    seen = Seen()
    return [item for item in items if seen.add(item)]


def collections_equal(left: list[Any], right: list[Any]) -> bool | None:
    """Compare item by item in order; None if either is empty or an item's answer is open."""
    if not left or not right:
        return None
    if len(left) != len(right):
        return False
    answer: bool | None = True
    for one, other in zip(left, right, strict=True):
        same = equal(one, other)
        if same is False:
            return False
        if same is None:
            answer = None
    return answer


def collections_equivalent(left: list[Any], right: list[Any]) -> bool:
    """Compare in any order; two empty collections are equivalent."""
    if len(left) != len(right):
        return False
    rest = list(right)
    for item in left:
        match = next((i for i, other in enumerate(rest) if equivalent(item, other)), None)
        if match is None:
            return False
        del rest[match]
    return True


def _key(item: object) -> object | None:
    """Return what stands for an item in a set, or None where equality may stay open."""
    value = system(item)
    if isinstance(value, Quantity | Temporal):
        return None
    if isinstance(value, Element):
        return ("element", _frozen(value.value))
    if value is None:
        # An element with only extensions is equal to itself alone.
        return ("nothing", id(item))
    return _frozen(value)


def _frozen(value: object) -> object:
    if isinstance(value, Mapping):
        return frozenset((key, _frozen(below)) for key, below in value.items())
    if isinstance(value, list):
        return tuple(_frozen(below) for below in value)
    if isinstance(value, bool):
        return (bool, value)
    # 1 and 1.0 hash alike in Python, as they are equal in FHIRPath.
    return value if isinstance(value, int | Decimal) else (str, value)
