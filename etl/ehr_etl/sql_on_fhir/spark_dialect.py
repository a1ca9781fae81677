"""Spark SQL: higher-order functions over arrays of structs, unfolded by `inline` at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ehr_etl.spark.sql_text import sql_literal
from ehr_etl.sql_on_fhir.dialect import Dialect
from ehr_etl.sql_on_fhir.expressions import (
    Constant,
    ElementTree,
    Expression,
    Fold,
    text,
)
from ehr_etl.sql_on_fhir.patterns import to_java_pattern, to_java_template

_DECIMAL = "DECIMAL(38,12)"
# As in `duckdb_dialect`: Jackson gives a number's value by way of a double, so numbers with a point
# or an exponent are put between quotation marks. The quantifiers are possessive, as Java's stack
# would not hold a long text otherwise.
_NUMBERS = r"""(?s)("(?:[^"\\]++|\\.)*+"(?:\s*:\s*)?)(-?[0-9]+[.eE][0-9.eE+-]*)?"""
_MARKED = f"regexp_replace({{0}}, {sql_literal(_NUMBERS)}, concat('$1', char(1), '$2', char(2)))"


class SparkDialect(Dialect):
    """The SQL of Spark 4 without ANSI's errors, in a session that keeps every decimal place."""

    scalars: ClassVar[Mapping[str, str]] = {
        "boolean": "BOOLEAN",
        "integer": "INT",
        "bigint": "BIGINT",
        "decimal": _DECIMAL,
        "huge": "DECIMAL(38,0)",
        "string": "STRING",
    }
    templates: ClassVar[Mapping[str, str]] = {
        "size": "size({0})",
        "get": "get({0}, {1})",
        "index_of": "CAST(coalesce(array_position({0}, {1}), 0) - 1 AS INT)",
        "compact": "array_compact({0})",
        "concat_lists": "concat({0}, {1})",
        "join_texts": "array_join({0}, {1})",
        "concat": "concat({0}, {1})",
        "starts_with": "startswith({0}, {1})",
        "ends_with": "endswith({0}, {1})",
        "contains": "contains({0}, {1})",
        "split": "split({0}, {1})",
        "matches": "({0} RLIKE {1})",
        "replace_pattern": "regexp_replace({0}, {1}, {2})",
        "extract_pattern": "regexp_extract({0}, {1}, {2})",
        "divide_whole": "({0} div {1})",
        "multiply_decimal": f"CAST({{0}} * {{1}} AS {_DECIMAL})",
        "divide_decimal": f"CAST({{0}} / {{1}} AS {_DECIMAL})",
        "round": f"CAST(round({{0}}, {{1}}) AS {_DECIMAL})",
        "days": "datediff(add_months(try_cast({0} AS DATE), {1}), DATE'1970-01-01')",
        "last_day": "CAST(last_day(try_cast({0} AS DATE)) AS STRING)",
        "nanoseconds": (
            "CAST(CAST({0} AS DECIMAL(18,0)) * CAST(1000000000 AS DECIMAL(10,0))"
            " + CAST({1} AS DECIMAL(10,0)) AS DECIMAL(38,0))"
        ),
    }

    quoted_numbers: ClassVar[str] = (
        f"translate(replace({_MARKED}, concat(char(1), char(2)), ''),"
        " concat(char(1), char(2)), '\"\"')"
    )

    def operation(self, name: str, arguments: tuple[Expression, ...]) -> str:
        """Return an operation; patterns are written as Java reads them."""
        match name, arguments:
            case "matches" | "extract_pattern", (subject, Constant(value=str() as value), *rest):
                changed: list[Expression] = [subject, text(to_java_pattern(value)), *rest]
            case "replace_pattern", (
                subject,
                Constant(value=str() as value),
                Constant(value=str() as template),
            ):
                changed = [
                    subject,
                    text(to_java_pattern(value)),
                    text(to_java_template(template)),
                ]
            case "split", (subject, Constant(value=str() as value)):
                # A pattern for Spark: every sign is written as itself.
                changed = [subject, text("".join(f"\\x{{{ord(sign):x}}}" for sign in value))]
            case _:
                changed = list(arguments)
        return super().operation(name, tuple(changed))

    def unfold(self, rows: str) -> str:
        """Return the columns of an array of structs, a row each."""
        return f"inline({rows})"

    def identifier(self, name: str) -> str:
        """Return a name in backticks."""
        return f"`{name}`"

    def text(self, value: str) -> str:
        """Return a text literal."""
        return sql_literal(value)

    def list_type(self, item: str) -> str:
        """Return the type of an array."""
        return f"ARRAY<{item}>"

    def struct_type(self, fields: list[tuple[str, str]]) -> str:
        """Return the type of a struct."""
        pairs = (f"`{name}`: {kind}" for name, kind in fields)
        return f"STRUCT<{', '.join(pairs)}>"

    def struct(self, fields: list[tuple[str, str]]) -> str:
        """Return a struct."""
        pairs = (f"'{name}', {value}" for name, value in fields)
        return f"named_struct({', '.join(pairs)})"

    def items(self, items: list[str]) -> str:
        """Return an array."""
        return f"array({', '.join(items)})"

    def call_with_lambda(
        self, function: str, items: Expression, item: str, index: str | None, body: Expression
    ) -> str:
        """Return a call of the function of the same name in Spark."""
        variables = item if index is None else f"({item}, {index})"
        return f"{function}({self.render(items)}, {variables} -> {self.render(body)})"

    def fold(self, fold: Fold) -> str:
        """Return an array reduced to one value."""
        return (
            f"aggregate({self.render(fold.items)}, {self.render(fold.initial)},"
            f" ({fold.total}, {fold.item}) -> {self.render(fold.body)})"
        )

    def parse_json(self, text: str, tree: ElementTree) -> str:
        """Return JSON text as a struct of the elements read."""
        columns = ", ".join(
            f"`{name}` {self.type_name(kind)}" for name, kind in tree.struct().fields
        )
        return f"from_json({text}, '{columns}')"

    def fail(self, message: str) -> str:
        """Return an expression that raises an error."""
        return f"raise_error({self.text(message)})"
