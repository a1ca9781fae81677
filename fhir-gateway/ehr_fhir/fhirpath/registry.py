"""Registry of the FHIRPath functions: name, number of arguments, implementation.

The compiler looks functions up here; importing `ehr_fhir.fhirpath.functions` fills the registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["FUNCTIONS", "Function", "register_function", "register_lazy_function"]

# Any: called as (scope, items, *arguments), with as many arguments as the expression has.
Implementation = Callable[..., list[Any]]


@dataclass(frozen=True, slots=True)
class Function:
    """A FHIRPath function; a lazy one takes its arguments as closures, to call for each item."""

    name: str
    min_arguments: int
    max_arguments: int
    lazy: bool
    implementation: Implementation


FUNCTIONS: dict[str, Function] = {}


def register_function(
    name: str, min_arguments: int = 0, max_arguments: int | None = None
) -> Callable[[Implementation], Implementation]:
    """Register a function whose arguments are evaluated once, before the call.

    Without a maximum it takes exactly `min_arguments`.
    """
    return _register(name, min_arguments, max_arguments, lazy=False)


def register_lazy_function(
    name: str, min_arguments: int = 0, max_arguments: int | None = None
) -> Callable[[Implementation], Implementation]:
    """Register a function whose arguments are evaluated for each item, as `$this` (N1 §4.3)."""
    return _register(name, min_arguments, max_arguments, lazy=True)


def _register(
    name: str, min_arguments: int, max_arguments: int | None, *, lazy: bool
) -> Callable[[Implementation], Implementation]:
    if max_arguments is None:
        max_arguments = min_arguments

    def register(implementation: Implementation) -> Implementation:
        FUNCTIONS[name] = Function(name, min_arguments, max_arguments, lazy, implementation)
        return implementation

    return register
