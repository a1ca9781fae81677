"""`sum`, `min`, `max`, `avg` (trial use), of numbers, quantities, dates or strings."""

from __future__ import annotations

from typing import Any

from ehr_fhir.fhirpath.operators import OPERATORS
from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import compare_items, to_system

__all__: list[str] = []


@register_function("sum")
def _sum(scope: Scope, items: list[Any]) -> list[Any]:
    total = [to_system(item) for item in items[:1]]
    for item in items[1:]:
        total = OPERATORS["+"](scope.evaluation, total, [item])
    return total


@register_function("avg")
def _avg(scope: Scope, items: list[Any]) -> list[Any]:
    return OPERATORS["/"](scope.evaluation, _sum(scope, items), [len(items)]) if items else []


@register_function("min")
def _min(scope: Scope, items: list[Any]) -> list[Any]:
    return _extreme(items, -1, "min")


@register_function("max")
def _max(scope: Scope, items: list[Any]) -> list[Any]:
    return _extreme(items, 1, "max")


def _extreme(items: list[Any], wanted: int, name: str) -> list[Any]:
    best = items[:1]
    for item in items[1:]:
        ranked = compare_items(item, best[0], f"`{name}()`")
        if ranked is None:
            return []
        if ranked == wanted:
            best = [item]
    return best
