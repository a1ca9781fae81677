"""Conditions on one row of a table: true or false, never unknown.

A comparison with a value that is not recorded is false, and its negation is true, on every engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

__all__ = [
    "AllOf",
    "AnyOf",
    "Between",
    "Comparison",
    "Condition",
    "IsRecorded",
    "Not",
    "OneOf",
    "StartsWith",
    "iterate_comparisons",
]

Number = int | Decimal


@dataclass(frozen=True)
class OneOf:
    """The column's value is one of these: texts, whole numbers, or true and false."""

    column: str
    values: tuple[str | int, ...]


@dataclass(frozen=True)
class StartsWith:
    """The column's text starts with one of these, as codes of a hierarchy do."""

    column: str
    prefixes: tuple[str, ...]


@dataclass(frozen=True)
class Between:
    """The column's number or date lies between two bounds, both included; None is no bound."""

    column: str
    low: Number | date | None = None
    high: Number | date | None = None


@dataclass(frozen=True)
class IsRecorded:
    """The column has a value."""

    column: str


@dataclass(frozen=True)
class Not:
    """The condition is false."""

    condition: Condition


@dataclass(frozen=True)
class AnyOf:
    """At least one condition is true."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class AllOf:
    """All conditions are true."""

    conditions: tuple[Condition, ...]


Comparison = OneOf | StartsWith | Between | IsRecorded
Condition = Comparison | Not | AnyOf | AllOf


def iterate_comparisons(condition: Condition) -> Iterator[Comparison]:
    """Yield the comparisons that a condition is made of."""
    match condition:
        case Not(condition=inner):
            yield from iterate_comparisons(inner)
        case AnyOf(conditions=parts) | AllOf(conditions=parts):
            for part in parts:
                yield from iterate_comparisons(part)
        case _:
            yield condition
