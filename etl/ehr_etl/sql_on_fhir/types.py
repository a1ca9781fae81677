"""Column types, of every SQL engine alike: FHIR's primitives as scalars, lists and structs.

Which names are types comes from R4's definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ehr_fhir import definitions
from ehr_fhir.fhirpath import PRIMITIVES as R4_PRIMITIVES


@dataclass(frozen=True, slots=True)
class Scalar:
    """A type of single values: boolean, integer, bigint, decimal, huge or string."""

    name: str


@dataclass(frozen=True, slots=True)
class ListType:
    """A list of values of one type."""

    item: SqlType


@dataclass(frozen=True, slots=True)
class StructType:
    """A struct: names and types of its fields, in order."""

    fields: tuple[tuple[str, SqlType], ...]


SqlType = Scalar | ListType | StructType

BOOLEAN, INTEGER, BIGINT = Scalar("boolean"), Scalar("integer"), Scalar("bigint")
# Exact: a double would turn 0.1 + 0.2 into 0.30000000000000004. 26 digits before the point and 12
# after it; FHIRPath asks for 28 digits, 8 of them after the point (N1 §4.1.4).
DECIMAL = Scalar("decimal")
# Nanoseconds: beyond 64 bits for the years 1 to 9999.
HUGE = Scalar("huge")
STRING = Scalar("string")

# Every primitive that is not here is text in JSON and in SQL.
SQL_TYPES: Mapping[str, Scalar] = {
    "boolean": BOOLEAN,
    "integer": INTEGER,
    "positiveInt": INTEGER,
    "unsignedInt": INTEGER,
    # Not R4's: a column of a view may ask for it, and arithmetic gives it.
    "integer64": BIGINT,
    "decimal": DECIMAL,
}
PRIMITIVES = frozenset(R4_PRIMITIVES) | SQL_TYPES.keys()
TEXT_TYPES = PRIMITIVES - SQL_TYPES.keys()
NUMBERS = frozenset(SQL_TYPES) - {"boolean"}
# Texts that mean a point or span of time, and are compared as such.
DATE_TYPES = frozenset({"date", "dateTime", "instant"})
TEMPORAL_TYPES = DATE_TYPES | {"time"}
# Specialisations of Quantity, which compare as quantities do.
QUANTITY_TYPES = frozenset(
    {"Quantity", "Age", "Count", "Distance", "Duration", "MoneyQuantity", "SimpleQuantity"}
)


def is_type(name: str) -> bool:
    """Say whether a column may be of this type.

    >>> is_type("dateTime"), is_type("HumanName"), is_type("Pateint")
    (True, True, False)
    """
    return name in PRIMITIVES or name in definitions.elements()


def sql_type(type_name: str) -> Scalar:
    """Return the type by which SQL holds a primitive.

    >>> sql_type("positiveInt").name, sql_type("date").name
    ('integer', 'string')
    """
    return SQL_TYPES.get(type_name, STRING)
