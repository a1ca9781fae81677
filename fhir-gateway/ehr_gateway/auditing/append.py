"""Rows into the log: each takes the next place and brings its leaf, in its own transaction.

Places have no gaps and are in the order of commit. SQLite has one writer at a time and takes a
number back with the transaction; on PostgreSQL the row of `audit_head` is locked until the commit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ehr_gateway.audit_schema import CONTENT
from ehr_gateway.database import Connection, Dialect
from ehr_privacy.audit import SALT_BYTES, row_leaf

__all__ = ["Values", "append"]

# The values of one row, in the order of CONTENT.
Values = Sequence[str | int | None]

_COLUMNS = f"{', '.join(CONTENT)}, salt, leaf"
_MARKS = ", ".join("?" * (len(CONTENT) + 2))
_INSERT: dict[Dialect, str] = {
    "sqlite": f"INSERT INTO audit ({_COLUMNS}) VALUES ({_MARKS})",  # noqa: S608 constant columns
    "postgresql": (
        "WITH head AS (INSERT INTO audit_head (one, size) VALUES (1, 1) ON CONFLICT (one)"  # noqa: S608
        " DO UPDATE SET size = audit_head.size + 1 RETURNING size)"
        f" INSERT INTO audit (seq, {_COLUMNS}) VALUES ((SELECT size FROM head), {_MARKS})"
    ),
}


def append(connection: Connection, rows: Iterable[Values]) -> None:
    """Add rows to the log, each under a salt of its own."""
    sealed = []
    for values in rows:
        salt = os.urandom(SALT_BYTES)
        sealed.append((*values, salt, row_leaf(salt, values)))
    if len(sealed) == 1:
        connection.execute(_INSERT[connection.dialect], sealed[0])
    else:
        connection.executemany(_INSERT[connection.dialect], sealed)
