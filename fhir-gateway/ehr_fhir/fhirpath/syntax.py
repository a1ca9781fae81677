"""Syntax tree of a parsed expression: frozen nodes by the grammar of FHIRPath N1 §12."""

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
    """A node, and the position of its token in the text."""

    position: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A literal (N1 §4.1): one value, or none for `{}`."""

    values: tuple[Any, ...]  # Any: a value of any System type
    # Of a date or time its text without the `@`, for those who compare it with JSON as text.
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Member(Node):
    """A member invocation: an element by its name, of the context if there is no base."""

    base: Node | None
    name: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function invocation (N1 §4.3), on the context if there is no base.

    `type` is the type specifier of `is()`, `as()` and `ofType()`.
    """

    base: Node | None
    name: str
    arguments: tuple[Node, ...]
    type: TypeSpecifier | None = None


@dataclass(frozen=True, slots=True)
class Index(Node):
    """An indexer (N1 §5.3): `base[index]`."""

    base: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Variable(Node):
    """An environment variable (N1 §9): `%name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Special(Node):
    """An invocation of `$this`, `$index` or `$total`."""

    name: str


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """A polarity expression: a sign and its operand."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """A binary operator and its operands (N1 §6)."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class TypeTest(Node):
    """A type operator (N1 §6.3): `operand is Type` or `operand as Type`."""

    operator: str
    operand: Node
    type: TypeSpecifier


@dataclass(frozen=True, slots=True)
class SortKey(Node):
    """An argument of `sort()`: a key and its direction."""

    key: Node
    descending: bool = field(default=False)


def nesting_depth(*nodes: Node | None) -> int:
    """Return the number of levels below and with the nodes."""
    deepest, level = 0, [node for node in nodes if node is not None]
    while level:
        deepest += 1
        level = [child for node in level for child in _child_nodes(node)]
    return deepest


def iterate_nodes(node: Node) -> Iterator[Node]:
    """Yield a node and all its descendants, in no promised order."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        pending += _child_nodes(current)


def _child_nodes(node: Node) -> list[Node]:
    match node:
        case Member(base=base):
            children: list[Node | None] = [base]
        case Call(base=base, arguments=arguments):
            children = [base, *arguments]
        case Index(base=base, index=index):
            children = [base, index]
        case Unary(operand=operand) | TypeTest(operand=operand):
            children = [operand]
        case Binary(left=left, right=right):
            children = [left, right]
        case SortKey(key=key):
            children = [key]
        case _:
            children = []
    return [child for child in children if child is not None]
