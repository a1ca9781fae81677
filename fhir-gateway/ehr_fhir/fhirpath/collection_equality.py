"""Collections as wholes: equal, equivalent, and without repeats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from ehr_fhir.errors import TooCostly
from ehr_fhir.fhirpath.element import Element
from ehr_fhir.fhirpath.quantity import Quantity, to_base_units
from ehr_fhir.fhirpath.system_values import DECIMAL_CONTEXT, equal, equivalent, to_system
from ehr_fhir.fhirpath.temporal import Temporal, Time

__all__ = ["ItemSet", "collections_equal", "collections_equivalent", "distinct"]

# Each item is compared with each other one.
_MAX_EQUIVALENT_ITEMS = 1000


class ItemSet:
    """Items met so far; equal items count as one (FHIRPath N1 §6.1.1)."""

    def __init__(self, items: Iterable[object] = ()) -> None:
        self._keys = {_key(item) for item in items}

    def add(self, item: object) -> bool:
        """Remember an item; return whether it is new."""
        before = len(self._keys)
        self._keys.add(_key(item))
        return len(self._keys) > before

    def __contains__(self, item: object) -> bool:
        return _key(item) in self._keys


def distinct(items: Iterable[Any]) -> list[Any]:
    """Return the items without repeats, in the order of their first.

    >>> distinct([1, Decimal("1.0"), "1", 1])
    [1, '1']
    """
    seen = ItemSet()
    return [item for item in items if seen.add(item)]


def collections_equal(left: list[Any], right: list[Any]) -> bool | None:
    """Compare item by item in order; None if either is empty or an item's answer is open."""
    if not left or not right:
        return None
    if len(left) != len(right):
        return False
    answer: bool | None = True
    for left_item, right_item in zip(left, right, strict=True):
        same = equal(left_item, right_item)
        if same is False:
            return False
        if same is None:
            answer = None
    return answer


def collections_equivalent(left: list[Any], right: list[Any]) -> bool:
    """Compare in any order; two empty collections are equivalent."""
    if len(left) != len(right):
        return False
    if len(left) > _MAX_EQUIVALENT_ITEMS:
        raise TooCostly("`~` is asked of collections that are too long.")
    rest = list(right)
    for item in left:
        match = next((i for i, other in enumerate(rest) if equivalent(item, other)), None)
        if match is None:
            return False
        del rest[match]
    return True


def _key(item: object) -> object:
    """Return what is the same for two items exactly if they are equal."""
    value = to_system(item)
    if isinstance(value, Temporal):
        # Equal are only dates of one precision, both with a zone or both without.
        low, _ = value.span()
        return isinstance(value, Time), len(value.parts), value.zone is None, low
    if isinstance(value, Quantity):
        return _quantity_key(value)
    if isinstance(value, Element):
        return ("element", _frozen(value.value))
    if value is None:
        # An element with only extensions is equal to itself alone.
        return ("nothing", id(item))
    return _frozen(value)


def _quantity_key(quantity: Quantity) -> object:
    dimensions, value = to_base_units(quantity)
    if dimensions == ():
        # 1 '1' is equal to the number 1, and 50 '%' to 0.5.
        return DECIMAL_CONTEXT.divide(Decimal(value.numerator), Decimal(value.denominator))
    return dimensions, value


def _frozen(value: object) -> object:
    if isinstance(value, Mapping):
        return frozenset((key, _frozen(below)) for key, below in value.items())
    if isinstance(value, list):
        return tuple(_frozen(below) for below in value)
    if isinstance(value, bool):
        return (bool, value)
    # 1 and 1.0 hash alike in Python, as they are equal in FHIRPath.
    return value if isinstance(value, int | Decimal) else (str, value)
