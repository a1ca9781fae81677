"""Utility functions (FHIRPath N1 §5.9): date and time, `trace`; and the reflection of §10.2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ehr_fhir.fhirpath.element import Element
from ehr_fhir.fhirpath.registry import register_function, register_lazy_function
from ehr_fhir.fhirpath.scope import Closure, Scope
from ehr_fhir.fhirpath.system_values import qualified_type_name, to_string
from ehr_fhir.fhirpath.temporal import Date, DateTime, Time

__all__: list[str] = []


@dataclass(frozen=True, slots=True)
class TypeInfo:
    """Result of `type()` (N1 §10.2), whose `namespace` and `name` an expression can read."""

    namespace: str
    name: str


@register_function("now")
def _now(scope: Scope, items: list[Any]) -> list[Any]:
    return [DateTime.from_datetime(scope.evaluation.now)]


@register_function("today")
def _today(scope: Scope, items: list[Any]) -> list[Any]:
    now = scope.evaluation.now
    return [Date((now.year, now.month, now.day))]


@register_function("timeOfDay")
def _time_of_day(scope: Scope, items: list[Any]) -> list[Any]:
    now = scope.evaluation.now
    return [Time((now.hour, now.minute, now.second), now.microsecond // 1000 * 10**6, 3)]


@register_lazy_function("trace", 1, 2)
def _trace(
    scope: Scope, items: list[Any], name: Closure, projection: Closure | None = None
) -> list[Any]:
    # Never to a log: the items may be a patient's, and the caller decides who may see them.
    if scope.evaluation.trace is not None:
        traced = items
        if projection is not None:
            item_scope = scope.for_items()
            traced = []
            for item_scope.index, item in enumerate(items):
                item_scope.this = [item]
                traced += projection(item_scope)
        scope.evaluation.trace(to_string(name(scope), "`trace()`") or "", traced)
    return items


@register_function("type")
def _type(scope: Scope, items: list[Any]) -> list[Any]:
    return [
        TypeInfo("FHIR", item.type)
        if isinstance(item, Element)
        else TypeInfo("System", qualified_type_name(item).removeprefix("System."))
        for item in items
    ]
