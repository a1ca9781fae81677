"""`sum`, `min`, `max`, `avg` (trial use), of numbers, quantities, dates or strings."""

from __future__ import annotations

from typing import Any

from ehr_fhir.fhirpath.operators import OPERATORS
from ehr_fhir.fhirpath.registry import plain
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import compare, system

__all__: list[str] = []


@plain("sum")
def _sum(scope: Scope, items: list[Any]) -> list[Any]:
    total = [system(item) for item in items[:1]]
    for item in items[1:]:
        total = OPERATORS["+"](scope.run, total, [item])
    return total


@plain("avg")
def _avg(scope: Scope, items: list[Any]) -> list[Any]:
    return OPERATORS["/"](scope.run, _sum(scope, items), [len(items)]) if items else []


@plain("min")
def _min(scope: Scope, items: list[Any]) -> list[Any]:
    return _extreme(items, -1, "min")


@plain("max")
def _max(scope: Scope, items: list[Any]) -> list[Any]:
    return _extreme(items, 1, "max")


def _extreme(items: list[Any], wanted: int, name: str) -> list[Any]:
    best = items[:1]
    for item in items[1:]:
        ranked = compare(item, best[0], f"`{name}()`")
        if ranked is None:
            return []
        if ranked == wanted:
            best = [item]
    return best
