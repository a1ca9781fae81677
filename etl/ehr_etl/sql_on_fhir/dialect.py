"""A dialect: how one SQL engine writes the intermediate representation.

Each engine has a template for every operation of `OPERATIONS`; a test compares the sets. Lambdas,
literals, types and the query itself are written by the engine's subclass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from ehr_etl.sql_on_fhir.expressions import (
    Cast,
    Choose,
    Constant,
    ElementTree,
    Expression,
    Fail,
    FieldOf,
    Filter,
    Fold,
    Items,
    Let,
    Operation,
    ParseJson,
    Reference,
    Struct,
    Transform,
)
from ehr_etl.sql_on_fhir.types import ListType, Scalar, SqlType
from ehr_etl.view_faults import fault_message
from ehr_fhir.errors import Fault

# The same text in every engine. Arguments are {0}, {1}, ...; NULL in gives NULL unless said.
COMMON_TEMPLATES: Mapping[str, str] = {
    "and": "({0} AND {1})",
    "or": "({0} OR {1})",
    "not": "(NOT {0})",
    "eq": "({0} = {1})",
    "ne": "({0} <> {1})",
    "lt": "({0} < {1})",
    "le": "({0} <= {1})",
    "gt": "({0} > {1})",
    "ge": "({0} >= {1})",
    # Never NULL.
    "is_present": "({0} IS NOT NULL)",
    # The first that is not NULL.
    "coalesce": "coalesce({0}, {1})",
    "null_if": "nullif({0}, {1})",
    # Whether arithmetic stays within what every engine calculates exactly. By doubles, whose error
    # is far below the distance of these limits from the true ones (2**63, 10**26, and 10**14, at
    # which DuckDB's 38 digits are full: 24 of them are places while it multiplies or divides).
    "sum_fits_whole": "(abs(CAST({0} AS DOUBLE)) + abs(CAST({1} AS DOUBLE)) < 9e18)",
    "sum_fits_decimal": "(abs(CAST({0} AS DOUBLE)) + abs(CAST({1} AS DOUBLE)) < 9e25)",
    "product_fits_whole": "(abs(CAST({0} AS DOUBLE) * CAST({1} AS DOUBLE)) < 9e18)",
    "product_fits_decimal": "(abs(CAST({0} AS DOUBLE) * CAST({1} AS DOUBLE)) < 8e13)",
    "quotient_fits": "({1} <> 0 AND abs({0}) < 80000000000000 AND abs({1}) < 80000000000000)",
    # Of numbers for which it is known that they fit.
    "add": "({0} + {1})",
    "subtract": "({0} - {1})",
    "multiply": "({0} * {1})",
    "negate": "(- {0})",
    "absolute": "abs({0})",
    "ceiling": "ceil({0})",
    "floor": "floor({0})",
    # The remainder has the sign of the dividend; NULL of a division by 0.
    "remainder": "({0} % nullif({1}, 0))",
    "flatten": "flatten({0})",
    "lower": "lower({0})",
    "upper": "upper({0})",
    # In characters, not bytes.
    "length": "length({0})",
    # From the character {1}, counted from 1; {2} characters.
    "substring": "substring({0}, {1}, {2})",
    "replace": "replace({0}, {1}, {2})",
    # Position of the first occurrence, from 1; 0 if there is none.
    "position": "instr({0}, {1})",
}
# What engines write differently, and what it means.
OPERATIONS: Mapping[str, str] = {
    "size": "number of items of a list",
    "get": "item at an index from 0; NULL beyond the end",
    "index_of": "index from 0 of a text in a list; one that no item has where it is not there",
    "compact": "a list without its NULLs",
    "concat_lists": "two lists as one, neither NULL",
    "join_texts": "texts of a list with a separator between them, NULLs left out",
    "concat": "two texts as one",
    "starts_with": "whether a text begins with another",
    "ends_with": "whether a text ends with another",
    "contains": "whether a text holds another",
    "split": "a text as a list, cut at a constant separator",
    "matches": "whether a part of a text matches a constant pattern",
    "replace_pattern": "a text with every match replaced; $1 is the first group",
    "extract_pattern": "a group of the first match; an empty text if there is none",
    "divide_whole": "quotient of 64-bit numbers, cut toward 0",
    "multiply_decimal": "product of decimals to 12 places",
    "divide_decimal": "quotient of decimals to 12 places",
    "round": "a decimal to a constant number of places, halves away from 0",
    "days": "days since 1970 of a date's text, some months later; NULL for no date",
    "last_day": "text of the last day of a date's month; NULL for no date",
    "nanoseconds": "whole seconds and nanoseconds as one number",
}


class Dialect(ABC):
    """The SQL of one engine."""

    templates: ClassVar[Mapping[str, str]]
    scalars: ClassVar[Mapping[str, str]]
    # JSON text {0} with its numbers that have a point or an exponent between quotation marks.
    quoted_numbers: ClassVar[str]

    def render(self, node: Expression) -> str:
        """Return an expression as SQL."""
        match node:
            case Reference(name=name):
                return self.reference(name)
            case FieldOf(base=base, name=name):
                return f"{self.render(base)}.{self.identifier(name)}"
            case Constant(value=value, type=kind):
                return self.constant(value, kind)
            case Operation(name=name, arguments=arguments):
                return self.operation(name, arguments)
            case Cast(value=value, type=kind, lenient=lenient):
                word = "TRY_CAST" if lenient else "CAST"
                return f"{word}({self.render(value)} AS {self.type_name(kind)})"
            case Choose(condition=condition, value=value, otherwise=otherwise):
                other = "" if otherwise is None else f" ELSE {self.render(otherwise)}"
                return f"CASE WHEN {self.render(condition)} THEN {self.render(value)}{other} END"
            case Struct(fields=fields):
                return self.struct([(name, self.render(value)) for name, value in fields])
            case Items(items=items):
                return self.items([self.render(item) for item in items])
            case Transform(items=items, item=item, index=index, body=body):
                return self.call_with_lambda("transform", items, item, index, body)
            case Filter(items=items, item=item, index=index, condition=condition):
                return self.call_with_lambda("filter", items, item, index, condition)
            case Fold():
                return self.fold(node)
            case Let(name=name, value=value, body=body):
                # A list of one: SQL has no other name for a value within an expression.
                one = Transform(Items((value,)), name, None, body)
                return self.operation("get", (one, Constant(0, Scalar("integer"))))
            case ParseJson(text=text, tree=tree):
                return self.parse_json(self.render(text), tree)
            case Fail(code=code, column=column):
                return self.fail(fault_message(code, column))
        raise Fault(f"There is no SQL for {type(node).__name__}.")

    def operation(self, name: str, arguments: tuple[Expression, ...]) -> str:
        """Return an operation by its template."""
        template = self.templates.get(name) or COMMON_TEMPLATES[name]
        return template.format(*(self.render(argument) for argument in arguments))

    def constant(self, value: object, kind: SqlType) -> str:
        """Return a literal."""
        if value is None:
            return f"CAST(NULL AS {self.type_name(kind)})"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return self.text(value)
        if kind in (Scalar("integer"), Scalar("bigint")):
            return str(value) if int(str(value)) >= 0 else f"({value})"
        return f"CAST('{value}' AS {self.type_name(kind)})"

    def type_name(self, kind: SqlType) -> str:
        """Return the engine's name of a type."""
        if isinstance(kind, Scalar):
            return self.scalars[kind.name]
        if isinstance(kind, ListType):
            return self.list_type(self.type_name(kind.item))
        return self.struct_type([(name, self.type_name(item)) for name, item in kind.fields])

    def reference(self, name: str) -> str:
        """Return a variable."""
        return name

    def query(
        self,
        *,
        resource: str,
        tree: ElementTree,
        rows: Expression,
        where: Expression,
        source: str,
        carried: Mapping[str, str],
    ) -> str:
        """Return the whole query over a source with the columns type and resource."""
        names = "".join(f"{name} AS {other}, " for name, other in carried.items())
        sources = "".join(f"{name}, " for name in carried)
        parsed = self.parse_json(self.json_text("resource", tree), tree)
        return (
            f"SELECT {names}{self.unfold(self.render(rows))} FROM"  # noqa: S608 - checked names
            f" (SELECT {sources}{parsed} AS r FROM {source}"
            f" WHERE type = {self.text(resource)}) WHERE {self.render(where)}"
        )

    def json_text(self, column: str, tree: ElementTree) -> str:
        """Return the JSON text to parse; with numbers as texts if a decimal is read."""
        return self.quoted_numbers.replace("{0}", column) if tree.reads_decimals() else column

    @abstractmethod
    def unfold(self, rows: str) -> str:
        """Return the columns of a list of structs, a row each."""

    @abstractmethod
    def identifier(self, name: str) -> str:
        """Return a quoted name."""

    @abstractmethod
    def text(self, value: str) -> str:
        """Return a text literal."""

    @abstractmethod
    def list_type(self, item: str) -> str:
        """Return the type of a list."""

    @abstractmethod
    def struct_type(self, fields: list[tuple[str, str]]) -> str:
        """Return the type of a struct."""

    @abstractmethod
    def struct(self, fields: list[tuple[str, str]]) -> str:
        """Return a struct."""

    @abstractmethod
    def items(self, items: list[str]) -> str:
        """Return a list."""

    @abstractmethod
    def call_with_lambda(
        self, function: str, items: Expression, item: str, index: str | None, body: Expression
    ) -> str:
        """Return a call of `transform` or `filter` on a list, with a lambda of its items."""

    @abstractmethod
    def fold(self, fold: Fold) -> str:
        """Return a list reduced to one value."""

    @abstractmethod
    def parse_json(self, text: str, tree: ElementTree) -> str:
        """Return JSON text as a struct."""

    @abstractmethod
    def fail(self, message: str) -> str:
        """Return an expression that raises an error."""
