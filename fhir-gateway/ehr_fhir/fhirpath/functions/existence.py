"""Existence (FHIRPath N1 §5.1): `exists`, `all`, `count`, `distinct` and the like."""

from __future__ import annotations

from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.collection_equality import ItemSet, distinct
from ehr_fhir.fhirpath.registry import register_function, register_lazy_function
from ehr_fhir.fhirpath.scope import Closure, Scope
from ehr_fhir.fhirpath.system_values import qualified_type_name, to_boolean, to_system

__all__: list[str] = []


@register_function("empty")
def _empty(scope: Scope, items: list[Any]) -> list[Any]:
    return [not items]


@register_lazy_function("exists", 0, 1)
def _exists(scope: Scope, items: list[Any], criteria: Closure | None = None) -> list[Any]:
    if criteria is None:
        return [bool(items)]
    return [_any_meets(scope, items, criteria)]


# Trial use: `exists(criteria)` by another name.
@register_lazy_function("any", 0, 1)
def _any(scope: Scope, items: list[Any], criteria: Closure | None = None) -> list[Any]:
    return _exists(scope, items, criteria)


@register_lazy_function("all", 1)
def _all(scope: Scope, items: list[Any], criteria: Closure) -> list[Any]:
    scope.evaluation.count_steps(len(items))
    item_scope = scope.for_items()
    for item_scope.index, item in enumerate(items):
        item_scope.this = [item]
        if to_boolean(criteria(item_scope), "The criterion of `all()`") is not True:
            return [False]
    return [True]


@register_function("allTrue")
def _all_true(scope: Scope, items: list[Any]) -> list[Any]:
    return [all(_to_booleans(items, "allTrue"))]


@register_function("anyTrue")
def _any_true(scope: Scope, items: list[Any]) -> list[Any]:
    return [any(_to_booleans(items, "anyTrue"))]


@register_function("allFalse")
def _all_false(scope: Scope, items: list[Any]) -> list[Any]:
    return [not any(_to_booleans(items, "allFalse"))]


@register_function("anyFalse")
def _any_false(scope: Scope, items: list[Any]) -> list[Any]:
    return [not all(_to_booleans(items, "anyFalse"))]


@register_function("subsetOf", 1)
def _subset_of(scope: Scope, items: list[Any], other: list[Any]) -> list[Any]:
    seen = ItemSet(other)
    return [all(item in seen for item in items)]


@register_function("supersetOf", 1)
def _superset_of(scope: Scope, items: list[Any], other: list[Any]) -> list[Any]:
    return _subset_of(scope, other, items)


@register_function("count")
def _count(scope: Scope, items: list[Any]) -> list[Any]:
    return [len(items)]


@register_function("distinct")
def _distinct(scope: Scope, items: list[Any]) -> list[Any]:
    return distinct(items)


@register_function("isDistinct")
def _is_distinct(scope: Scope, items: list[Any]) -> list[Any]:
    return [len(distinct(items)) == len(items)]


@register_function("not")
def _not(scope: Scope, items: list[Any]) -> list[Any]:
    value = to_boolean(items, "`not()`")
    return [] if value is None else [not value]


def _any_meets(scope: Scope, items: list[Any], criteria: Closure) -> bool:
    scope.evaluation.count_steps(len(items))
    item_scope = scope.for_items()
    for item_scope.index, item in enumerate(items):
        item_scope.this = [item]
        if to_boolean(criteria(item_scope), "The criterion of `exists()`") is True:
            return True
    return False


def _to_booleans(items: list[Any], name: str) -> list[bool]:
    values = [to_system(item) for item in items]
    for value in values:
        if not isinstance(value, bool):
            raise Invalid(f"`{name}()` takes booleans, not {qualified_type_name(value)}.")
    return values
