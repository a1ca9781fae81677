"""The parts of a parsed expression, as frozen values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ehr_fhir.fhirpath.datatypes import TypeSpecifier

__all__ = [
    "Binary",
    "Call",
    "Index",
    "Literal",
    "Member",
    "Node",
    "SortKey",
    "Special",
    "TypeTest",
    "Unary",
    "Variable",
    "iterate_nodes",
    "nesting_depth",
]


@dataclass(frozen=True, slots=True)
class Node:
    """Any part; where it stands in the text."""

    position: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A value written out, or `{}`."""

    values: tuple[Any, ...]  # Any: a value of any System type
    # Of a date or time its text without the `@`, for those who compare it with JSON as text.
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Member(Node):
    """An element by its name; without a base, of the context."""

    base: Node | None
    name: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function; without a base, on the context. `type` is what `is`, `as`, `ofType` name."""

    base: Node | None
    name: str
    arguments: tuple[Node, ...]
    type: TypeSpecifier | None = None


@dataclass(frozen=True, slots=True)
class Index(Node):
    """`base[index]`."""

    base: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Variable(Node):
    """`%name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Special(Node):
    """`$this`, `$index` or `$total`."""

    name: str


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """A sign before a value."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """Two operands and what stands between them."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class TypeTest(Node):
    """`operand is Type` or `operand as Type`."""

    operator: str
    operand: Node
    type: TypeSpecifier


@dataclass(frozen=True, slots=True)
class SortKey(Node):
    """A key of `sort()` and its direction."""

    key: Node
    descending: bool = field(default=False)


def nesting_depth(*nodes: Node | None) -> int:
    """Return how deep the deepest of the nodes is nested."""
    deepest, level = 0, [node for node in nodes if node is not None]
    while level:
        deepest += 1
        level = [below for node in level for below in _below(node)]
    return deepest


def iterate_nodes(node: Node) -> Iterator[Node]:
    """Yield a node and all below it."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting += _below(current)


def _below(node: Node) -> list[Node]:
    match node:
        case Member(base=base):
            found: list[Node | None] = [base]
        case Call(base=base, arguments=arguments):
            found = [base, *arguments]
        case Index(base=base, index=index):
            found = [base, index]
        case Unary(operand=operand) | TypeTest(operand=operand):
            found = [operand]
        case Binary(left=left, right=right):
            found = [left, right]
        case SortKey(key=key):
            found = [key]
        case _:
            found = []
    return [child for child in found if child is not None]
