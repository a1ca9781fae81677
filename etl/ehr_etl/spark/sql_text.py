"""Values as SQL literals of Spark."""

from __future__ import annotations

from ehr_fhir.errors import Fault


def sql_literal(value: object) -> str:
    """Return a value as a Spark SQL literal.

    >>> sql_literal(True), sql_literal(None), sql_literal(3)
    ('true', 'NULL', '3')
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    raise Fault(f"A {type(value).__name__} cannot be written as an SQL literal.")
