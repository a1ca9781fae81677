"""`sort` (trial use): by the items or by keys, up or down; an item without a key comes first."""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any

from ehr_fhir.fhirpath.registry import register_lazy_function
from ehr_fhir.fhirpath.scope import Closure, Scope
from ehr_fhir.fhirpath.system_values import compare_items, to_singleton

__all__: list[str] = []

_MAX_KEYS = 20


@register_lazy_function("sort", 0, _MAX_KEYS)
def _sort(scope: Scope, items: list[Any], *keys: tuple[Closure, bool]) -> list[Any]:
    rows = []
    item_scope = scope.for_items()
    for item_scope.index, item in enumerate(items):
        item_scope.this = [item]
        row = (
            [to_singleton(key(item_scope), "A key of `sort()`") for key, _ in keys]
            if keys
            else [item]
        )
        rows.append((row, item))
    scope.evaluation.count_steps(len(items) * 10)
    directions = [-1 if descending else 1 for _, descending in keys] or [1]

    def ranked(left: tuple[list[Any], Any], right: tuple[list[Any], Any]) -> int:
        for one_key, other, direction in zip(left[0], right[0], directions, strict=True):
            if one_key is None or other is None:
                answer = (one_key is not None) - (other is not None)
            else:
                answer = (compare_items(one_key, other, "`sort()`") or 0) * direction
            if answer:
                return answer
        return 0

    return [item for _, item in sorted(rows, key=cmp_to_key(ranked))]
