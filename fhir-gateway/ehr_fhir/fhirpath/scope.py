"""What an expression sees while it is evaluated: the resource, the variables, `$this`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ehr_fhir.errors import Invalid, TooCostly
from ehr_fhir.fhirpath.element import Element

__all__ = ["Closure", "Evaluation", "Scope"]

# Chosen, so that no expression of a stranger runs or grows without end.
_MAX_STEPS = 500_000
_MAX_TEXT_CHARACTERS = 1_000_000
_CONSTANTS = {
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
    "ucum": "http://unitsofmeasure.org",
}
_FOLDERS = {
    "vs-": "http://hl7.org/fhir/ValueSet/",
    "ext-": "http://hl7.org/fhir/StructureDefinition/",
}


@dataclass(slots=True)
class Evaluation:
    """One evaluation: what the caller gave, and how much work has been done."""

    resource: Element
    context: list[Any]
    variables: Mapping[str, object]
    now: datetime
    resolve: Callable[[str], Mapping[str, Any] | None] | None = None
    member_of: Callable[[object, str], bool | None] | None = None
    trace: Callable[[str, list[Any]], None] | None = None
    steps: int = field(default=0)

    def count_steps(self, steps: int) -> None:
        """Count work, so that no expression runs or grows without end."""
        self.steps += steps
        if self.steps > _MAX_STEPS:
            raise TooCostly("The FHIRPath expression takes too many steps on this resource.")

    def checked_text(self, text: str) -> str:
        """Return a text that an expression made, unless it has grown out of measure."""
        self.count_text(len(text))
        return text

    def count_text(self, length: int) -> None:
        """Count a text that is about to be made; refuse one out of measure."""
        self.check_text_length(length)
        self.count_steps(length // 100)

    def check_text_length(self, length: int) -> None:
        """Refuse a text out of measure."""
        if length > _MAX_TEXT_CHARACTERS:
            raise TooCostly("The FHIRPath expression makes a text that is too long.")

    def variable(self, name: str) -> list[Any]:
        """Return what `%name` stands for."""
        if name in self.variables:
            value = self.variables[name]
            return list(value) if isinstance(value, list | tuple) else [value]
        if name in ("resource", "rootResource"):
            return [self.resource]
        if name == "context":
            return self.context
        if name in _CONSTANTS:
            return [_CONSTANTS[name]]
        for prefix, folder in _FOLDERS.items():
            if name.startswith(prefix):
                return [folder + name.removeprefix(prefix)]
        raise Invalid(f"The FHIRPath variable %{name[:60]} has no value here.")


class Scope:
    """`$this` as a collection, `$index` and `$total`; inside a function's lambda, of one item."""

    __slots__ = ("index", "run", "this", "total")

    def __init__(self, run: Evaluation, this: list[Any]) -> None:
        self.run = run
        self.this = this
        self.index: int | None = None
        self.total: list[Any] = []

    def inner(self) -> Scope:
        """Return a scope for the items of a function, below this one."""
        scope = Scope(self.run, [])
        scope.total = self.total
        return scope


Closure = Callable[[Scope], list[Any]]
