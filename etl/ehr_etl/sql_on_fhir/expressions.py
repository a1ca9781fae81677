"""The intermediate representation: SQL expressions as values, which dialects write down.

The compiler builds these trees and knows no engine; `spark_dialect` and `duckdb_dialect` turn one
and the same tree into their SQL. An absent value is NULL; `Operation` names one of the closed set
of `dialect.OPERATIONS`, whose meaning is the same in every engine.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from decimal import Decimal

from ehr_etl.sql_on_fhir.types import BOOLEAN, STRING, ListType, SqlType, StructType, sql_type
from ehr_fhir.definitions import JsonElement


@dataclass
class ElementTree:
    """An element that the view reads, and those below it; the JSON is parsed for these alone."""

    type: str
    many: bool
    children: dict[str, ElementTree] = field(default_factory=dict)
    # Of a contained resource, which is parsed from its text: the elements read, by its type.
    resources: dict[str, ElementTree] = field(default_factory=dict)

    def add_child(self, element: JsonElement) -> ElementTree:
        """Note that an element is read."""
        return self.children.setdefault(element.key, ElementTree(element.type, element.repeats))

    def add_resource(self, type_name: str) -> ElementTree:
        """Note that a contained resource is read as one of a type."""
        return self.resources.setdefault(type_name, ElementTree(type_name, many=False))

    def struct(self) -> StructType:
        """Return the type of what lies below."""
        return StructType(tuple((name, below.json_type()) for name, below in self.children.items()))

    def json_type(self) -> SqlType:
        """Return the type to parse; a type of which nothing is read stays JSON text."""
        # Decimals are read with the digits as written: `1.0` is not `1` for lowBoundary().
        whole = STRING if self.type == "decimal" else sql_type(self.type)
        one: SqlType = self.struct() if self.children else whole
        return ListType(one) if self.many else one

    def leaf_paths(self) -> Iterator[str]:
        """Yield the dotted paths of the values that are read, contained resources apart."""
        for name, below in self.children.items():
            if not below.children:
                yield name
            for path in below.leaf_paths():
                yield f"{name}.{path}"

    def reads_decimals(self) -> bool:
        """Say whether a decimal is read anywhere below, contained resources included."""
        return self.type == "decimal" or any(
            below.reads_decimals() for below in (*self.children.values(), *self.resources.values())
        )


class Expression:
    """A node of the tree."""


@dataclass(frozen=True)
class Reference(Expression):
    """The row's resource or the variable of a lambda."""

    name: str


@dataclass(frozen=True)
class FieldOf(Expression):
    """A field of a struct; NULL of NULL."""

    base: Expression
    name: str


@dataclass(frozen=True)
class Constant(Expression):
    """A value known when the view compiles."""

    value: str | bool | int | Decimal | None
    type: SqlType


@dataclass(frozen=True)
class Operation(Expression):
    """One of `dialect.OPERATIONS` on its arguments."""

    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Cast(Expression):
    """A conversion; of what cannot be converted NULL if `lenient`, else an error."""

    value: Expression
    type: SqlType
    lenient: bool = False


@dataclass(frozen=True)
class Choose(Expression):
    """CASE WHEN condition THEN value ELSE otherwise END."""

    condition: Expression
    value: Expression
    otherwise: Expression | None = None


@dataclass(frozen=True)
class Struct(Expression):
    """A struct of named values."""

    fields: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True)
class Items(Expression):
    """A list of given values."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Transform(Expression):
    """A list with `body` for each item; `index` counts from 0."""

    items: Expression
    item: str
    index: str | None
    body: Expression


@dataclass(frozen=True)
class Filter(Expression):
    """The items of a list for which a condition is true."""

    items: Expression
    item: str
    index: str | None
    condition: Expression


@dataclass(frozen=True)
class Fold(Expression):
    """A list reduced to one value from an initial one."""

    items: Expression
    initial: Expression
    total: str
    item: str
    body: Expression


@dataclass(frozen=True)
class Let(Expression):
    """An expression with a name for a value that it uses more than once."""

    name: str
    value: Expression
    body: Expression


@dataclass(frozen=True, eq=False)
class ParseJson(Expression):
    """JSON text as a struct of the elements read, which are all known only at the end."""

    text: Expression
    tree: ElementTree


@dataclass(frozen=True)
class Fail(Expression):
    """An error of the view when a row reaches it: a code and, if known, the column."""

    code: str
    column: str = ""


FALSE = Constant(False, BOOLEAN)

# Nodes from which on a value is named, which makes a list of one in SQL: longer than a path of a
# few elements. Chosen.
_LONG = 20

_numbers = itertools.count(1)


def new_variable() -> str:
    """Return a name for a lambda's variable that no other has."""
    return f"v{next(_numbers)}"


def operation(name: str, *arguments: Expression) -> Operation:
    """Return an operation on its arguments."""
    return Operation(name, arguments)


def text(value: str) -> Constant:
    """Return a constant text."""
    return Constant(value, STRING)


def number(value: int) -> Constant:
    """Return a constant whole number."""
    return Constant(value, sql_type("integer"))


def is_true(condition: Expression) -> Operation:
    """Return whether a condition is true; of NULL, false."""
    return operation("coalesce", condition, FALSE)


def null(type_: SqlType) -> Constant:
    """Return NULL of a type."""
    return Constant(None, type_)


def transform(items: Expression, body: Callable[[Expression], Expression]) -> Transform:
    """Return a list with something made of each item."""
    name = new_variable()
    return Transform(items, name, None, body(Reference(name)))


def let(value: Expression, body: Callable[[Expression], Expression]) -> Let:
    """Name a value for use in an expression."""
    name = new_variable()
    return Let(name, value, body(Reference(name)))


def share(value: Expression, body: Callable[[Expression], Expression]) -> Expression:
    """Name a value that an expression uses more than once, unless it is short.

    Written out each time, what is compiled would double with each use within another.
    """
    return body(value) if _is_short(value) else let(value, body)


def _is_short(expression: Expression) -> bool:
    return sum(1 for _ in itertools.islice(_iterate_nodes(expression), _LONG)) < _LONG


def _iterate_nodes(value: object) -> Iterator[Expression]:
    if isinstance(value, tuple):
        for item in value:
            yield from _iterate_nodes(item)
    elif isinstance(value, Expression) and is_dataclass(value):
        yield value
        for item in fields(value):
            yield from _iterate_nodes(getattr(value, item.name))


def name_column(expression: Expression, column: str) -> Expression:
    """Write the name of the column into every error that the expression may raise."""
    if isinstance(expression, Fail):
        return expression if expression.column else replace(expression, column=column)
    if isinstance(expression, Constant | Reference) or not is_dataclass(expression):
        return expression
    changed = {
        item.name: _name_column_within(getattr(expression, item.name), column)
        for item in fields(expression)
    }
    return type(expression)(**changed)


def _name_column_within(value: object, column: str) -> object:
    if isinstance(value, Expression):
        return name_column(value, column)
    if isinstance(value, tuple):
        return tuple(_name_column_within(item, column) for item in value)
    return value
