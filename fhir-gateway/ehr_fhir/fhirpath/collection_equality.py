"""Equality and equivalence of collections, and their distinct items (FHIRPath N1 §6.1, §5.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from ehr_fhir.errors import TooCostly
from ehr_fhir.fhirpath.element import Element
from ehr_fhir.fhirpath.quantity import Quantity, to_base_units
from ehr_fhir.fhirpath.system_values import (
    DECIMAL_CONTEXT,
    items_equal,
    items_equivalent,
    to_system,
)
from ehr_fhir.fhirpath.temporal import Temporal, Time

__all__ = ["ItemSet", "collections_equal", "collections_equivalent", "distinct"]

# Chosen: each item is compared with each of the other collection, so a million comparisons at most.
_MAX_EQUIVALENT_ITEMS = 1000


class ItemSet:
    """A set of items by FHIRPath's equality (N1 §6.1), so that 1 and 1.0 are the same item.

    Looking up a key takes constant time, where comparing each item with each would be quadratic.
    """

    def __init__(self, items: Iterable[object] = ()) -> None:
        self._keys = {_equality_key(item) for item in items}

    def add(self, item: object) -> bool:
        """Add an item; return whether it was not in the set before."""
        size = len(self._keys)
        self._keys.add(_equality_key(item))
        return len(self._keys) > size

    def __contains__(self, item: object) -> bool:
        return _equality_key(item) in self._keys


def distinct(items: Iterable[Any]) -> list[Any]:
    """Return the distinct items (N1 §5.1), each where it first occurs.

    >>> distinct([1, Decimal("1.0"), "1", 1])
    [1, '1']
    """
    seen = ItemSet()
    return [item for item in items if seen.add(item)]


def collections_equal(left: list[Any], right: list[Any]) -> bool | None:
    """Compare two collections item by item in order (N1 §6.1).

    None if either is empty, or if all known pairs are equal and another is unknown.
    """
    if not left or not right:
        return None
    if len(left) != len(right):
        return False
    result: bool | None = True
    for left_item, right_item in zip(left, right, strict=True):
        is_equal = items_equal(left_item, right_item)
        if is_equal is False:
            return False
        if is_equal is None:
            result = None
    return result


def collections_equivalent(left: list[Any], right: list[Any]) -> bool:
    """Compare two collections in any order (N1 §6.1); two empty ones are equivalent."""
    if len(left) != len(right):
        return False
    if len(left) > _MAX_EQUIVALENT_ITEMS:
        raise TooCostly("`~` is asked of collections that are too long.")
    unmatched = list(right)
    for item in left:
        match = next(
            (i for i, other in enumerate(unmatched) if items_equivalent(item, other)), None
        )
        if match is None:
            return False
        del unmatched[match]
    return True


def _equality_key(item: object) -> object:
    """Return a hashable key, the same for two items exactly if they are equal."""
    value = to_system(item)
    if isinstance(value, Temporal):
        # Only dates of the same precision can be equal, both with a time zone or both without.
        start, _ = value.span()
        return isinstance(value, Time), len(value.parts), value.zone is None, start
    if isinstance(value, Quantity):
        return _quantity_key(value)
    if isinstance(value, Element):
        return ("element", _freeze_json(value.value))
    if value is None:
        # An element with only extensions is equal to itself alone.
        return ("no value", id(item))
    return _freeze_json(value)


def _quantity_key(quantity: Quantity) -> object:
    dimensions, value = to_base_units(quantity)
    if dimensions == ():
        # 1 '1' is equal to the number 1, and 50 '%' to 0.5.
        return DECIMAL_CONTEXT.divide(Decimal(value.numerator), Decimal(value.denominator))
    return dimensions, value


def _freeze_json(value: object) -> object:
    if isinstance(value, Mapping):
        return frozenset((key, _freeze_json(member)) for key, member in value.items())
    if isinstance(value, list):
        return tuple(_freeze_json(member) for member in value)
    if isinstance(value, bool):
        return (bool, value)
    # 1 and 1.0 hash alike in Python, as they are equal in FHIRPath.
    return value if isinstance(value, int | Decimal) else (str, value)
