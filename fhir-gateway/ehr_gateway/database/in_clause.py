"""IN clauses whose list is one parameter, so that the statement's text never varies.

With the values in the text each list would make a statement of its own, to be parsed and planned
anew, and would push others out of the cache of prepared statements.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from ehr_gateway.database.array_literal import array_literal
from ehr_gateway.database.connection import Dialect

__all__ = ["encode_list", "encode_texts", "in_list"]


def in_list(dialect: Dialect, name: str) -> str:
    """Return the SQL operator that tests membership in the list bound to a parameter.

    >>> f"pk {in_list('sqlite', 'pks')}", f"pk {in_list('postgresql', 'pks')}"
    ('pk IN (SELECT value FROM json_each(:pks))', 'pk = ANY(:pks)')
    """
    if dialect == "sqlite":
        return f"IN (SELECT value FROM json_each(:{name}))"  # noqa: S608 - a name of ours
    return f"= ANY(:{name})"


def encode_list(dialect: Dialect, numbers: Iterable[int]) -> str:
    """Encode integers as the parameter's value: a JSON array, or PostgreSQL's array literal.

    >>> encode_list("sqlite", [3, 4]), encode_list("postgresql", [3, 4])
    ('[3,4]', '{3,4}')
    """
    begin, end = "[]" if dialect == "sqlite" else "{}"
    return f"{begin}{','.join(map(str, numbers))}{end}"


def encode_texts(dialect: Dialect, texts: Iterable[str]) -> str:
    """Encode texts as the parameter's value: a JSON array, or PostgreSQL's array literal.

    >>> encode_texts("sqlite", ["a", "b"]), encode_texts("postgresql", ["a", "b"])
    ('["a", "b"]', '{"a","b"}')
    """
    return json.dumps(list(texts)) if dialect == "sqlite" else array_literal(list(texts))
