"""Evaluation and scope: what an expression can see while it is evaluated.

An evaluation has the resource, the environment variables (N1 §9) and the budget of work. A scope
has `$this`, `$index` and `$total` of the innermost function argument that is evaluated for each
item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ehr_fhir.errors import Invalid, TooCostly
from ehr_fhir.fhirpath.element import Element

__all__ = ["MAX_STEPS", "Closure", "Evaluation", "Scope"]

# Chosen: an item handled is a step, so that half a million of them end within seconds.
MAX_STEPS = 500_000
# Chosen: in characters; `replace()` and `&` can double a string again and again.
_MAX_STRING_LENGTH = 1_000_000
# Chosen: characters of a new string that cost as much as one step.
_CHARACTERS_PER_STEP = 100
# Environment variables of FHIRPath and of FHIR: N1 §9 and R4 §2.9.1.
_CODE_SYSTEMS = {
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
    "ucum": "http://unitsofmeasure.org",
}
_URL_PREFIXES = {
    "vs-": "http://hl7.org/fhir/ValueSet/",
    "ext-": "http://hl7.org/fhir/StructureDefinition/",
}


@dataclass(slots=True)
class Evaluation:
    """One evaluation of an expression: the caller's arguments, and the steps counted so far."""

    resource: Element
    context: list[Any]
    variables: Mapping[str, object]
    now: datetime
    resolve: Callable[[str], Mapping[str, Any] | None] | None = None
    member_of: Callable[[object, str], bool | None] | None = None
    trace: Callable[[str, list[Any]], None] | None = None
    max_steps: int = MAX_STEPS
    steps: int = field(default=0)

    def count_steps(self, steps: int) -> None:
        """Add to the steps of the evaluation; raise TooCostly beyond its budget."""
        self.steps += steps
        if self.steps > self.max_steps:
            raise TooCostly("The FHIRPath expression takes too many steps on this resource.")

    def check_string(self, text: str) -> str:
        """Return a computed string; raise TooCostly if it is too long."""
        self.count_string(len(text))
        return text

    def count_string(self, length: int) -> None:
        """Count the steps of a string before it is built; raise TooCostly if it is too long."""
        self.check_string_length(length)
        self.count_steps(length // _CHARACTERS_PER_STEP)

    def check_string_length(self, length: int) -> None:
        """Raise TooCostly for a length over a million characters."""
        if length > _MAX_STRING_LENGTH:
            raise TooCostly("The FHIRPath expression makes a text that is too long.")

    def resolve_variable(self, name: str) -> list[Any]:
        """Return the value of the environment variable `%name` (N1 §9).

        A caller's variable hides a predefined one of the same name.
        """
        if name in self.variables:
            value = self.variables[name]
            return list(value) if isinstance(value, list | tuple) else [value]
        # A contained resource is evaluated by itself, so that both are the same here.
        if name in ("resource", "rootResource"):
            return [self.resource]
        if name == "context":
            return self.context
        if name in _CODE_SYSTEMS:
            return [_CODE_SYSTEMS[name]]
        for prefix, url_prefix in _URL_PREFIXES.items():
            if name.startswith(prefix):
                return [url_prefix + name.removeprefix(prefix)]
        raise Invalid(f"The FHIRPath variable %{name[:60]} has no value here.")


class Scope:
    """`$this`, `$index` and `$total`: of the whole expression, or of an item in a function."""

    __slots__ = ("evaluation", "index", "this", "total")

    def __init__(self, evaluation: Evaluation, this: list[Any]) -> None:
        self.evaluation = evaluation
        self.this = this
        self.index: int | None = None
        self.total: list[Any] = []

    def for_items(self) -> Scope:
        """Return a scope for a function to set to each item in turn.

        One scope serves all items of a call: a new one for each would cost more than most criteria.
        """
        scope = Scope(self.evaluation, [])
        scope.total = self.total
        return scope


# A compiled part of an expression: from a scope to a collection.
Closure = Callable[[Scope], list[Any]]
