"""Append rows to the log, each with its salt and Merkle leaf, in the writer's transaction.

`seq` has no gaps and follows the order of commit. SQLite has one writer at a time and reuses the
number of a transaction that was rolled back; on PostgreSQL the row of `audit_head` stays locked
until the commit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ehr_gateway.database import Connection
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS
from ehr_privacy.audit import SALT_BYTES, row_leaf

__all__ = ["RowValues", "SealedRow", "append_rows", "seal_rows"]

# The values of one row in the order of CONTENT_COLUMNS, and the same followed by salt and leaf.
RowValues = Sequence[str | int | None]
SealedRow = Sequence[str | int | bytes | None]

_COLUMNS = f"{', '.join(CONTENT_COLUMNS)}, salt, leaf"
_PLACEHOLDERS = ", ".join("?" * (len(CONTENT_COLUMNS) + 2))
_INSERT_POSTGRESQL = (
    "WITH head AS (INSERT INTO audit_head (one, size) VALUES (1, 1) ON CONFLICT (one)"  # noqa: S608
    " DO UPDATE SET size = audit_head.size + 1 RETURNING size)"
    f" INSERT INTO audit (seq, {_COLUMNS}) VALUES ((SELECT size FROM head), {_PLACEHOLDERS})"
)
# Many rows in one statement: between two statements a thread may have to wait for the GIL.
_INSERT_SQLITE = {
    size: f"INSERT INTO audit ({_COLUMNS}) VALUES {', '.join([f'({_PLACEHOLDERS})'] * size)}"  # noqa: S608
    for size in (50, 1)
}


def seal_rows(rows: Iterable[RowValues]) -> list[SealedRow]:
    """Add to each row a random salt and its leaf, `SHA-256(0x00 || SHA-256(salt || row))`."""
    rows_sealed: list[SealedRow] = []
    for values in rows:
        salt = os.urandom(SALT_BYTES)
        rows_sealed.append((*values, salt, row_leaf(salt, values)))
    return rows_sealed


def append_rows(connection: Connection, rows: Sequence[SealedRow]) -> None:
    """Append sealed rows in the caller's transaction."""
    if connection.dialect == "postgresql":
        if len(rows) == 1:
            connection.execute(_INSERT_POSTGRESQL, rows[0])
        else:
            connection.executemany(_INSERT_POSTGRESQL, rows)
        return
    done = 0
    for size, statement in _INSERT_SQLITE.items():
        while len(rows) - done >= size:
            batch = rows[done : done + size]
            connection.execute(statement, [value for row in batch for value in row])
            done += size
