"""DuckDB's SQL: list functions with lambdas over lists of structs, unfolded by `unnest`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from ehr_etl.sql_on_fhir.dialect import Dialect
from ehr_etl.sql_on_fhir.expressions import Constant, ElementTree, Expression, Fold, text
from ehr_etl.sql_on_fhir.patterns import to_re2_template
from ehr_etl.sql_on_fhir.types import ListType, Scalar, SqlType

_DECIMAL = "DECIMAL(38,12)"
_MILLION_MILLIONS = "CAST(1000000000000 AS DECIMAL(13,0))"
# DuckDB's JSON reader gives a number's value, not its digits (`1.50` comes as 1.5), so numbers with
# a point or an exponent are put between quotation marks first. A text is matched whole, so that no
# digit within one is; the two signs stand for quotation marks, and are in no JSON text (RFC 8259
# §7).
_MARKED = (
    r"""regexp_replace({0}, '("(?:[^"\\]|\\.)*"(?:\s*:\s*)?)(-?[0-9]+[.eE][0-9.eE+-]*)?',"""
    r""" '\1' || chr(1) || '\2' || chr(2), 'g')"""
)
# Whole numbers of 128 bits, as DuckDB divides decimals by way of doubles: twice the dividend and
# once the divisor, over twice the divisor, rounds half away from zero.
_DIVIDEND = f"abs(CAST({{0}} * {_MILLION_MILLIONS} AS HUGEINT)) * 1000000000000"
_DIVISOR = f"abs(CAST({{1}} * {_MILLION_MILLIONS} AS HUGEINT))"
_QUOTIENT = (
    f"CAST(CAST(sign({{0}}) * sign({{1}}) AS DECIMAL(1,0)) * (CAST("
    f"(2 * {_DIVIDEND} + {_DIVISOR}) // (2 * {_DIVISOR})"
    f" AS DECIMAL(38,0)) * CAST('0.000000000001' AS DECIMAL(12,12))) AS {_DECIMAL})"
)


class DuckDbDialect(Dialect):
    """The SQL of DuckDB, with its built-in JSON functions alone."""

    scalars: ClassVar[Mapping[str, str]] = {
        "boolean": "BOOLEAN",
        "integer": "INTEGER",
        "bigint": "BIGINT",
        "decimal": _DECIMAL,
        "huge": "HUGEINT",
        "string": "VARCHAR",
    }
    templates: ClassVar[Mapping[str, str]] = {
        "size": "len({0})",
        "get": "list_extract({0}, {1} + 1)",
        "index_of": "(coalesce(list_position({0}, {1}), 0) - 1)",
        "compact": "list_filter({0}, lambda item_: item_ IS NOT NULL)",
        "concat_lists": "list_concat({0}, {1})",
        "join_texts": "array_to_string({0}, {1})",
        "concat": "({0} || {1})",
        "starts_with": "starts_with({0}, {1})",
        "ends_with": "ends_with({0}, {1})",
        "contains": "contains({0}, {1})",
        "split": "string_split({0}, {1})",
        "matches": "regexp_matches({0}, {1}, 's')",
        "replace_pattern": "regexp_replace({0}, {1}, {2}, 'gs')",
        "extract_pattern": "regexp_extract({0}, {1}, {2}, 's')",
        "divide_whole": "({0} // {1})",
        "multiply_decimal": f"CAST({{0}} * {{1}} AS {_DECIMAL})",
        "divide_decimal": _QUOTIENT,
        "round": f"CAST(round({{0}}, {{1}}) AS {_DECIMAL})",
        "days": (
            "date_diff('day', DATE '1970-01-01',"
            " CAST(TRY_CAST({0} AS DATE) + to_months({1}) AS DATE))"
        ),
        "last_day": "CAST(last_day(TRY_CAST({0} AS DATE)) AS VARCHAR)",
        "nanoseconds": "(CAST({0} AS HUGEINT) * 1000000000 + {1})",
    }

    quoted_numbers: ClassVar[str] = (
        f"""translate(replace({_MARKED}, chr(1) || chr(2), ''), chr(1) || chr(2), '""')"""
    )

    def __init__(self) -> None:
        # DuckDB counts from 1; a lambda's index is one less wherever it is read.
        self._indexes: set[str] = set()

    def operation(self, name: str, arguments: tuple[Expression, ...]) -> str:
        """Return an operation; a template's groups are written as RE2 reads them."""
        match name, arguments:
            case "replace_pattern", (subject, pattern, Constant(value=str() as template)):
                arguments = (subject, pattern, text(to_re2_template(template)))
        return super().operation(name, arguments)

    def unfold(self, rows: str) -> str:
        """Return the columns of a list of structs, a row each."""
        return f"unnest({rows}, max_depth := 2)"

    def reference(self, name: str) -> str:
        """Return a variable; an index counts from 0."""
        return f"({name} - 1)" if name in self._indexes else name

    def identifier(self, name: str) -> str:
        """Return a name in quotation marks."""
        return f'"{name}"'

    def text(self, value: str) -> str:
        """Return a text literal."""
        return "'" + value.replace("'", "''") + "'"

    def list_type(self, item: str) -> str:
        """Return the type of a list."""
        return f"{item}[]"

    def struct_type(self, fields: list[tuple[str, str]]) -> str:
        """Return the type of a struct."""
        pairs = (f'"{name}" {kind}' for name, kind in fields)
        return f"STRUCT({', '.join(pairs)})"

    def struct(self, fields: list[tuple[str, str]]) -> str:
        """Return a struct."""
        return "{" + ", ".join(f"'{name}': {value}" for name, value in fields) + "}"

    def items(self, items: list[str]) -> str:
        """Return a list."""
        return f"[{', '.join(items)}]"

    def call_with_lambda(
        self, function: str, items: Expression, item: str, index: str | None, body: Expression
    ) -> str:
        """Return a call of `list_transform` or `list_filter`."""
        head = self._lambda(item, index)
        return f"list_{function}({self.render(items)}, {head} {self.render(body)})"

    def fold(self, fold: Fold) -> str:
        """Return a list reduced to one value."""
        return (
            f"list_reduce({self.render(fold.items)}, lambda {fold.total}, {fold.item}:"
            f" {self.render(fold.body)}, {self.render(fold.initial)})"
        )

    def parse_json(self, text: str, tree: ElementTree) -> str:
        """Return JSON text as a struct of the elements read."""
        shape = json.dumps({name: self._shape(kind) for name, kind in tree.struct().fields})
        return f"json_transform({text}, {self.text(shape)})"

    def fail(self, message: str) -> str:
        """Return an expression that raises an error."""
        return f"error({self.text(message)})"

    def _lambda(self, item: str, index: str | None) -> str:
        if index is None:
            return f"lambda {item}:"
        self._indexes.add(index)
        return f"lambda {item}, {index}:"

    def _shape(self, kind: SqlType) -> object:
        if isinstance(kind, Scalar):
            return self.scalars[kind.name]
        if isinstance(kind, ListType):
            return [self._shape(kind.item)]
        return {name: self._shape(item) for name, item in kind.fields}
