"""Filtering and projection (N1 §5.2), `iif` and `aggregate`: functions with a lambda."""

from __future__ import annotations

from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.collection_equality import ItemSet
from ehr_fhir.fhirpath.registry import register_lazy_function
from ehr_fhir.fhirpath.scope import Closure, Scope
from ehr_fhir.fhirpath.system_values import qualified_type_name, to_boolean, to_singleton, to_system

__all__: list[str] = []


@register_lazy_function("where", 1)
def _where(scope: Scope, items: list[Any], criterion: Closure) -> list[Any]:
    scope.evaluation.count_steps(len(items))
    item_scope = scope.for_items()
    found = []
    for item_scope.index, item in enumerate(items):
        item_scope.this = [item]
        result = criterion(item_scope)
        if result and to_boolean(result, "The criterion of `where()`") is True:
            found.append(item)
    return found


@register_lazy_function("select", 1)
def _select(scope: Scope, items: list[Any], projection: Closure) -> list[Any]:
    item_scope = scope.for_items()
    found: list[Any] = []
    for item_scope.index, item in enumerate(items):
        item_scope.this = [item]
        result = projection(item_scope)
        scope.evaluation.count_steps(len(result) + 1)
        found += result
    return found


@register_lazy_function("repeat", 1)
def _repeat(scope: Scope, items: list[Any], projection: Closure) -> list[Any]:
    item_scope = scope.for_items()
    seen, found, level = ItemSet(), list[Any](), items
    while level:
        below: list[Any] = []
        for item_scope.index, item in enumerate(level):
            item_scope.this = [item]
            result = projection(item_scope)
            scope.evaluation.count_steps(len(result) + 1)
            below += [value for value in result if seen.add(value)]
        found += below
        level = below
    return found


@register_lazy_function("repeatAll", 1)
def _repeat_all(scope: Scope, items: list[Any], projection: Closure) -> list[Any]:
    item_scope = scope.for_items()
    found, level = list[Any](), items
    while level:
        below: list[Any] = []
        for item_scope.index, item in enumerate(level):
            item_scope.this = [item]
            result = projection(item_scope)
            scope.evaluation.count_steps(len(result) + 1)
            below += result
        found += below
        level = below
    return found


@register_lazy_function("iif", 2, 3)
def _iif(
    scope: Scope,
    items: list[Any],
    criterion: Closure,
    then: Closure,
    otherwise: Closure | None = None,
) -> list[Any]:
    to_singleton(items, "`iif()`")
    item_scope = scope.for_items()
    # Inside a lambda, $index stays that of the item it is about.
    item_scope.this, item_scope.index = items, scope.index
    value = to_system(to_singleton(criterion(item_scope), "The criterion of `iif()`"))
    if value is not None and not isinstance(value, bool):
        raise Invalid(f"The criterion of `iif()` is a boolean, not {qualified_type_name(value)}.")
    if value:
        return then(item_scope)
    return otherwise(item_scope) if otherwise else []


@register_lazy_function("aggregate", 1, 2)
def _aggregate(
    scope: Scope, items: list[Any], aggregator: Closure, start: Closure | None = None
) -> list[Any]:
    item_scope = scope.for_items()
    item_scope.total = start(scope) if start else []
    for item_scope.index, item in enumerate(items):
        item_scope.this = [item]
        item_scope.total = aggregator(item_scope)
        scope.evaluation.count_steps(len(item_scope.total) + 1)
    return item_scope.total
