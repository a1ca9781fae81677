"""The one registry of functions: name, how many arguments, and whether they are lambdas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["FUNCTIONS", "Function", "register_function", "register_lazy_function"]


@dataclass(frozen=True, slots=True)
class Function:
    """One function; a lazy one gets its arguments as closures, to be run for each item."""

    name: str
    least: int
    most: int
    lazy: bool
    # Any: called as (scope, items, *arguments), the arguments as many as were written.
    run: Callable[..., list[Any]]


FUNCTIONS: dict[str, Function] = {}

Implementation = Callable[..., list[Any]]


def register_function(
    name: str, least: int = 0, most: int | None = None
) -> Callable[..., Implementation]:
    """Register a function whose arguments are collections, computed in the scope of the call."""
    return _register(name, least, least if most is None else most, lazy=False)


def register_lazy_function(
    name: str, least: int = 0, most: int | None = None
) -> Callable[..., Implementation]:
    """Register a function whose arguments are run for each item as `$this`."""
    return _register(name, least, least if most is None else most, lazy=True)


def _register(name: str, least: int, most: int, *, lazy: bool) -> Callable[..., Implementation]:
    def register(run: Implementation) -> Implementation:
        FUNCTIONS[name] = Function(name, least, most, lazy, run)
        return run

    return register
