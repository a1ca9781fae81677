"""Subsetting (N1 §5.3) and combining with other collections by position."""

from __future__ import annotations

from typing import Any

from ehr_fhir.fhirpath.collection_equality import Seen
from ehr_fhir.fhirpath.registry import plain
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import one, whole

__all__: list[str] = []


@plain("single")
def _single(scope: Scope, items: list[Any]) -> list[Any]:
    one(items, "`single()`")
    return items


@plain("first")
def _first(scope: Scope, items: list[Any]) -> list[Any]:
    return items[:1]


@plain("last")
def _last(scope: Scope, items: list[Any]) -> list[Any]:
    return items[-1:]


@plain("tail")
def _tail(scope: Scope, items: list[Any]) -> list[Any]:
    return items[1:]


@plain("skip", 1)
def _skip(scope: Scope, items: list[Any], number: list[Any]) -> list[Any]:
    return items[max(whole(number, "`skip()`") or 0, 0) :]


@plain("take", 1)
def _take(scope: Scope, items: list[Any], number: list[Any]) -> list[Any]:
    return items[: max(whole(number, "`take()`") or 0, 0)]


@plain("intersect", 1)
def _intersect(scope: Scope, items: list[Any], other: list[Any]) -> list[Any]:
    kept, seen = Seen(other), Seen()
    return [item for item in items if item in kept and seen.add(item)]


@plain("exclude", 1)
def _exclude(scope: Scope, items: list[Any], other: list[Any]) -> list[Any]:
    left_out = Seen(other)
    return [item for item in items if item not in left_out]
