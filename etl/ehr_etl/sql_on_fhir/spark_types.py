"""How Spark holds FHIR's primitives, and which names are types: both from R4's definitions."""

from __future__ import annotations

from collections.abc import Mapping

from ehr_fhir import definitions
from ehr_fhir.fhirpath import PRIMITIVES as R4_PRIMITIVES

# Every primitive that is not here is text in JSON and in Spark.
SPARK_TYPES: Mapping[str, str] = {
    "boolean": "BOOLEAN",
    "integer": "INT",
    "positiveInt": "INT",
    "unsignedInt": "INT",
    # Not R4's: a column of a view may ask for it, and arithmetic gives it.
    "integer64": "BIGINT",
    # Exact: a double would turn 0.1 + 0.2 into 0.30000000000000004.
    "decimal": "DECIMAL(38,12)",
}
PRIMITIVES = frozenset(R4_PRIMITIVES) | SPARK_TYPES.keys()
TEXT_TYPES = PRIMITIVES - SPARK_TYPES.keys()
NUMBERS = frozenset(SPARK_TYPES) - {"boolean"}


def is_type(name: str) -> bool:
    """Say whether a column may be of this type.

    >>> is_type("dateTime"), is_type("HumanName"), is_type("Pateint")
    (True, True, False)
    """
    return name in PRIMITIVES or name in definitions.elements()


def spark_type(type_name: str) -> str:
    """Return how Spark holds a primitive.

    >>> spark_type("positiveInt"), spark_type("date")
    ('INT', 'STRING')
    """
    return SPARK_TYPES.get(type_name, "STRING")
