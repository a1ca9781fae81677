"""Combining (N1 §5.4) and the tree below an element (§5.8)."""

from __future__ import annotations

from typing import Any

from ehr_fhir.fhirpath.collection_equality import distinct
from ehr_fhir.fhirpath.element import all_children
from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope

__all__: list[str] = []


@register_function("union", 1)
def _union(scope: Scope, items: list[Any], other: list[Any]) -> list[Any]:
    scope.evaluation.count_steps(len(items) + len(other))
    return distinct([*items, *other])


@register_function("combine", 1)
def _combine(scope: Scope, items: list[Any], other: list[Any]) -> list[Any]:
    scope.evaluation.count_steps(len(items) + len(other))
    return [*items, *other]


@register_function("children")
def _children(scope: Scope, items: list[Any]) -> list[Any]:
    found = [child for item in items for child in all_children(item)]
    scope.evaluation.count_steps(len(found))
    return found


@register_function("descendants")
def _descendants(scope: Scope, items: list[Any]) -> list[Any]:
    found: list[Any] = []
    level = items
    while level:
        level = _children(scope, level)
        found += level
    return found
