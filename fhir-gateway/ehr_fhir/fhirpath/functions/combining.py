"""Combining (FHIRPath N1 §5.4) and tree navigation (§5.8)."""

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
    elements = [child for item in items for child in all_children(item)]
    scope.evaluation.count_steps(len(elements))
    return elements


@register_function("descendants")
def _descendants(scope: Scope, items: list[Any]) -> list[Any]:
    # Level by level, without recursion: a resource may be nested deeper than Python's stack.
    elements: list[Any] = []
    parents = items
    while parents:
        parents = _children(scope, parents)
        elements += parents
    return elements
