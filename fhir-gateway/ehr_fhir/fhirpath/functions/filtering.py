"""Filtering and projection (N1 §5.2), `iif` and `aggregate`: functions with a lambda."""

from __future__ import annotations

from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.collection_equality import Seen
from ehr_fhir.fhirpath.registry import register_lazy_function
from ehr_fhir.fhirpath.scope import Closure, Scope
from ehr_fhir.fhirpath.system_values import single_item, to_boolean, to_system, type_label

__all__: list[str] = []


@register_lazy_function("where", 1)
def _where(scope: Scope, items: list[Any], criterion: Closure) -> list[Any]:
    scope.run.count_steps(len(items))
    inner = scope.inner()
    found = []
    for inner.index, item in enumerate(items):
        inner.this = [item]
        result = criterion(inner)
        if result and to_boolean(result, "The criterion of `where()`") is True:
            found.append(item)
    return found


@register_lazy_function("select", 1)
def _select(scope: Scope, items: list[Any], projection: Closure) -> list[Any]:
    inner = scope.inner()
    found: list[Any] = []
    for inner.index, item in enumerate(items):
        inner.this = [item]
        result = projection(inner)
        scope.run.count_steps(len(result) + 1)
        found += result
    return found


@register_lazy_function("repeat", 1)
def _repeat(scope: Scope, items: list[Any], projection: Closure) -> list[Any]:
    inner = scope.inner()
    seen, found, level = Seen(), list[Any](), items
    while level:
        below: list[Any] = []
        for inner.index, item in enumerate(level):
            inner.this = [item]
            result = projection(inner)
            scope.run.count_steps(len(result) + 1)
            below += [value for value in result if seen.add(value)]
        found += below
        level = below
    return found


@register_lazy_function("repeatAll", 1)
def _repeat_all(scope: Scope, items: list[Any], projection: Closure) -> list[Any]:
    inner = scope.inner()
    found, level = list[Any](), items
    while level:
        below: list[Any] = []
        for inner.index, item in enumerate(level):
            inner.this = [item]
            result = projection(inner)
            scope.run.count_steps(len(result) + 1)
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
    single_item(items, "`iif()`")
    inner = scope.inner()
    # Inside a lambda, $index stays that of the item it is about.
    inner.this, inner.index = items, scope.index
    value = to_system(single_item(criterion(inner), "The criterion of `iif()`"))
    if value is not None and not isinstance(value, bool):
        raise Invalid(f"The criterion of `iif()` is a boolean, not {type_label(value)}.")
    if value:
        return then(inner)
    return otherwise(inner) if otherwise else []


@register_lazy_function("aggregate", 1, 2)
def _aggregate(
    scope: Scope, items: list[Any], aggregator: Closure, start: Closure | None = None
) -> list[Any]:
    inner = scope.inner()
    inner.total = start(scope) if start else []
    for inner.index, item in enumerate(items):
        inner.this = [item]
        inner.total = aggregator(inner)
        scope.run.count_steps(len(inner.total) + 1)
    return inner.total
