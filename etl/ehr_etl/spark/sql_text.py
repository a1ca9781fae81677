"""Named parameters as SQL literals.

Spark's own named parameters do not reach the query when Delta's parser is installed (Spark 4.1.4
with Delta 4.4.0: UNBOUND_SQL_PARAMETER for every query), so they are written in here, quoted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ehr_fhir.errors import Fault

_PARAMETER = re.compile(r"(?<![:\w']):([A-Za-z_]\w*)\b")


def bind_parameters(sql: str, params: Mapping[str, object]) -> str:
    """Write the parameters into the SQL as literals.

    >>> bind_parameters("since <= :now AND kind = :kind", {"now": 5, "kind": "it's"})
    "since <= 5 AND kind = 'it\\\\'s'"
    """
    return _PARAMETER.sub(lambda match: sql_literal(_value(params, match[1])), sql)


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


def _value(params: Mapping[str, object], name: str) -> object:
    if name not in params:
        raise Fault(f"The SQL parameter {name} has no value.")
    return params[name]
