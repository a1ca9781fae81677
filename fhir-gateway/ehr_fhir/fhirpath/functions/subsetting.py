"""Subsetting (FHIRPath N1 §5.3): by position, or by the items of another collection.

A negative number of items to skip or take counts as 0.
"""

from __future__ import annotations

from typing import Any

from ehr_fhir.fhirpath.collection_equality import ItemSet
from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import to_integer, to_singleton

__all__: list[str] = []


@register_function("single")
def _single(scope: Scope, items: list[Any]) -> list[Any]:
    to_singleton(items, "`single()`")
    return items


@register_function("first")
def _first(scope: Scope, items: list[Any]) -> list[Any]:
    return items[:1]


@register_function("last")
def _last(scope: Scope, items: list[Any]) -> list[Any]:
    return items[-1:]


@register_function("tail")
def _tail(scope: Scope, items: list[Any]) -> list[Any]:
    return items[1:]


@register_function("skip", 1)
def _skip(scope: Scope, items: list[Any], num: list[Any]) -> list[Any]:
    return items[max(to_integer(num, "`skip()`") or 0, 0) :]


@register_function("take", 1)
def _take(scope: Scope, items: list[Any], num: list[Any]) -> list[Any]:
    return items[: max(to_integer(num, "`take()`") or 0, 0)]


@register_function("intersect", 1)
def _intersect(scope: Scope, items: list[Any], other: list[Any]) -> list[Any]:
    others, seen = ItemSet(other), ItemSet()
    return [item for item in items if item in others and seen.add(item)]


@register_function("exclude", 1)
def _exclude(scope: Scope, items: list[Any], other: list[Any]) -> list[Any]:
    excluded = ItemSet(other)
    return [item for item in items if item not in excluded]
