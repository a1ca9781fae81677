"""What a FHIRPath compiles to: an SQL expression, its FHIR type, and one value or many.

Empty is NULL for one value, NULL or an empty array for many. The tree of `Field`s records which
elements the view reads; the JSON is parsed for these alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from ehr_etl.spark.java_errors import NOT_A_SINGLE_VALUE
from ehr_etl.spark.sql_text import sql_literal
from ehr_etl.sql_on_fhir.spark_types import PRIMITIVES, spark_type
from ehr_fhir.definitions import JsonElement


@dataclass
class SchemaField:
    """An element that the view reads, and those below it that it reads."""

    type: str
    many: bool
    children: dict[str, SchemaField] = field(default_factory=dict)

    def add_child(self, element: JsonElement) -> SchemaField:
        """Note that an element is read."""
        return self.children.setdefault(element.key, SchemaField(element.type, element.repeats))

    def columns(self) -> str:
        """Return the schema of what lies below."""
        return ", ".join(f"`{name}` {below.schema()}" for name, below in self.children.items())

    def schema(self) -> str:
        """Return the schema to parse; a type of which nothing is read stays JSON text."""
        scalar = f"STRUCT<{self.columns()}>" if self.children else spark_type(self.type)
        return f"ARRAY<{scalar}>" if self.many else scalar


@dataclass(frozen=True)
class SqlValue:
    """A compiled path; `field` is None where it was computed, `choice` names a `value[x]`."""

    sql: str
    type: str
    many: bool = False
    field: SchemaField | None = None
    choice: str | None = None

    @property
    def is_primitive(self) -> bool:
        """Say whether the value is a primitive of FHIR."""
        return self.choice is None and self.type in PRIMITIVES


_numbers = itertools.count(1)


def new_variable() -> str:
    """Return a name for a lambda's variable that no other has."""
    return f"v{next(_numbers)}"


def literal_value(value: str | bool | int | Decimal | None, type_name: str) -> SqlValue:
    """Return a constant."""
    if value is None:
        return SqlValue(f"CAST(NULL AS {spark_type(type_name)})", type_name)
    if isinstance(value, bool):
        return SqlValue(str(value).lower(), "boolean")
    if isinstance(value, int):
        return SqlValue(str(value), type_name)
    if isinstance(value, Decimal):
        return SqlValue(f"CAST('{value}' AS {spark_type('decimal')})", "decimal")
    return SqlValue(sql_literal(value), type_name)


def map_values(value: SqlValue, function: Callable[[str], str], type_name: str) -> SqlValue:
    """Apply an SQL function to one value or to each of many."""
    if not value.many:
        return SqlValue(function(value.sql), type_name)
    name = new_variable()
    mapped = f"array_compact(transform({value.sql}, {name} -> {function(name)}))"
    return SqlValue(mapped, type_name, many=True)


def filter_values(value: SqlValue, condition: Callable[[SqlValue], str]) -> SqlValue:
    """Keep what meets a condition."""
    if not value.many:
        return replace(value, sql=f"CASE WHEN {condition(value)} THEN {value.sql} END")
    name = new_variable()
    item = replace(value, sql=name, many=False)
    return replace(value, sql=f"filter({value.sql}, {name} -> {condition(item)})")


def single_value(value: SqlValue) -> str:
    """Return SQL for the only value; more than one is an error when the view runs."""
    if not value.many:
        return value.sql
    return (
        f"CASE WHEN coalesce(size({value.sql}), 0) > 1 THEN raise_error('{NOT_A_SINGLE_VALUE}')"
        f" ELSE get({value.sql}, 0) END"
    )


def exists_sql(value: SqlValue) -> str:
    """Return SQL that says whether there is any value; never NULL."""
    return f"coalesce(size({value.sql}), 0) > 0" if value.many else f"({value.sql}) IS NOT NULL"
