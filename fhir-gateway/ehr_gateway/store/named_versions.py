"""SQL that finds the current versions of resources named by type and id."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["from_current_versions"]


def from_current_versions(keys: Sequence[str]) -> str:
    """Return FROM and WHERE of the current versions, as `r`; each key is `(type, id)` in SQL.

    A join, and not `(type, id) IN (VALUES ...)`: for that SQLite walks the whole table as soon as
    there are two keys. SQLite takes a CROSS JOIN in the order in which it is written, and both
    databases call the columns of VALUES `column1` and `column2`.

    >>> from_current_versions(["(?, ?)", "(?, ?)"])[:44]
    'FROM (VALUES (?, ?), (?, ?)) named CROSS JOI'
    """
    return (
        f"FROM (VALUES {', '.join(keys)}) named CROSS JOIN resource r"
        " WHERE r.type = named.column1 AND r.id = named.column2 AND r.current = 1"
    )
