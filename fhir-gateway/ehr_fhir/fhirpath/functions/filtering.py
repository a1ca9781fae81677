"""Filtering and projection (FHIRPath N1 §5.2), `iif` (§5.5) and `aggregate` (§7).

Their arguments are expressions that are evaluated for each item of the input collection. Steps are
counted by item and result, so that nested calls cannot multiply without end.
"""

from __future__ import annotations

from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.collection_equality import ItemSet
from ehr_fhir.fhirpath.registry import register_lazy_function
from ehr_fhir.fhirpath.scope import Closure, Scope
from ehr_fhir.fhirpath.system_values import qualified_type_name, to_boolean, to_singleton, to_system

__all__: list[str] = []


@register_lazy_function("where", 1)
def _where(scope: Scope, items: list[Any], criteria: Closure) -> list[Any]:
    scope.evaluation.count_steps(len(items))
    item_scope = scope.for_items()
    results = []
    for item_scope.index, item in enumerate(items):
        item_scope.this = [item]
        result = criteria(item_scope)
        if result and to_boolean(result, "The criterion of `where()`") is True:
            results.append(item)
    return results


@register_lazy_function("select", 1)
def _select(scope: Scope, items: list[Any], projection: Closure) -> list[Any]:
    item_scope = scope.for_items()
    results: list[Any] = []
    for item_scope.index, item in enumerate(items):
        item_scope.this = [item]
        result = projection(item_scope)
        scope.evaluation.count_steps(len(result) + 1)
        results += result
    return results


@register_lazy_function("repeat", 1)
def _repeat(scope: Scope, items: list[Any], projection: Closure) -> list[Any]:
    item_scope = scope.for_items()
    seen, results, level = ItemSet(), list[Any](), items
    while level:
        next_level: list[Any] = []
        for item_scope.index, item in enumerate(level):
            item_scope.this = [item]
            result = projection(item_scope)
            scope.evaluation.count_steps(len(result) + 1)
            next_level += [value for value in result if seen.add(value)]
        results += next_level
        level = next_level
    return results


@register_lazy_function("repeatAll", 1)
def _repeat_all(scope: Scope, items: list[Any], projection: Closure) -> list[Any]:
    item_scope = scope.for_items()
    results, level = list[Any](), items
    while level:
        next_level: list[Any] = []
        for item_scope.index, item in enumerate(level):
            item_scope.this = [item]
            result = projection(item_scope)
            scope.evaluation.count_steps(len(result) + 1)
            next_level += result
        results += next_level
        level = next_level
    return results


@register_lazy_function("iif", 2, 3)
def _iif(
    scope: Scope,
    items: list[Any],
    criteria: Closure,
    true_result: Closure,
    otherwise_result: Closure | None = None,
) -> list[Any]:
    to_singleton(items, "`iif()`")
    item_scope = scope.for_items()
    # `iif` goes through no items, so that `$index` stays that of the function around it.
    item_scope.this, item_scope.index = items, scope.index
    value = to_system(to_singleton(criteria(item_scope), "The criterion of `iif()`"))
    if value is not None and not isinstance(value, bool):
        raise Invalid(f"The criterion of `iif()` is a boolean, not {qualified_type_name(value)}.")
    if value:
        return true_result(item_scope)
    return otherwise_result(item_scope) if otherwise_result else []


@register_lazy_function("aggregate", 1, 2)
def _aggregate(
    scope: Scope, items: list[Any], aggregator: Closure, init: Closure | None = None
) -> list[Any]:
    item_scope = scope.for_items()
    item_scope.total = init(scope) if init else []
    for item_scope.index, item in enumerate(items):
        item_scope.this = [item]
        item_scope.total = aggregator(item_scope)
        scope.evaluation.count_steps(len(item_scope.total) + 1)
    return item_scope.total
