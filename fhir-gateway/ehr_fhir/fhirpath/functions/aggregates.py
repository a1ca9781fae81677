"""Aggregates `sum`, `min`, `max`, `avg` (trial use), each as its definition by `aggregate()` says.

`sum` and `avg` take what `+` takes, `min` and `max` what `<` takes.
"""

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
    return _find_extreme(items, -1, "min")


@register_function("max")
def _max(scope: Scope, items: list[Any]) -> list[Any]:
    return _find_extreme(items, 1, "max")


def _find_extreme(items: list[Any], better: int, name: str) -> list[Any]:
    """Return the least item (`better` -1) or the greatest (1); empty if any order is unknown."""
    extreme = items[:1]
    for item in items[1:]:
        order = compare_items(item, extreme[0], f"`{name}()`")
        if order is None:
            return []
        if order == better:
            extreme = [item]
    return extreme
