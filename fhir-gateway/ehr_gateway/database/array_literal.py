"""PostgreSQL's array literals: many values as one parameter, whose type never varies.

psycopg would send a list by the type of what is in it, and one of nothing but NULL by none; each
combination of types is a prepared statement of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["array_literal"]


def array_literal(values: Iterable[str | int | bytes | None]) -> str:
    r"""Return an array of texts, numbers or bytes as PostgreSQL reads it.

    >>> print(array_literal(["a", 'said "b\\c"', None]), array_literal([1]), array_literal([b"z"]))
    {"a","said \"b\\c\"",NULL} {"1"} {"\\x7a"}
    """
    return f"{{{','.join(map(_element, values))}}}"


def _element(value: str | int | bytes | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
