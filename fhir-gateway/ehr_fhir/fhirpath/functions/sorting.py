"""`sort` (trial use): by the items or by keys, ascending or descending.

An item without a value of a key comes first in either direction.
"""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any

from ehr_fhir.fhirpath.registry import register_lazy_function
from ehr_fhir.fhirpath.scope import Closure, Scope
from ehr_fhir.fhirpath.system_values import compare_items, to_singleton

__all__: list[str] = []

# Chosen: every key is evaluated for every item.
_MAX_KEYS = 20


@register_lazy_function("sort", 0, _MAX_KEYS)
def _sort(scope: Scope, items: list[Any], *keys: tuple[Closure, bool]) -> list[Any]:
    rows = []
    item_scope = scope.for_items()
    for item_scope.index, item in enumerate(items):
        item_scope.this = [item]
        values = [to_singleton(key(item_scope), "A key of `sort()`") for key, _ in keys]
        rows.append((values or [item], item))
    # Chosen: about the comparisons that sorting a thousand items takes for each.
    scope.evaluation.count_steps(len(items) * 10)
    directions = [-1 if descending else 1 for _, descending in keys] or [1]

    def compare_rows(left: tuple[list[Any], Any], right: tuple[list[Any], Any]) -> int:
        for left_key, right_key, direction in zip(left[0], right[0], directions, strict=True):
            if left_key is None or right_key is None:
                order = (left_key is not None) - (right_key is not None)
            else:
                order = (compare_items(left_key, right_key, "`sort()`") or 0) * direction
            if order:
                return order
        return 0

    return [item for _, item in sorted(rows, key=cmp_to_key(compare_rows))]
