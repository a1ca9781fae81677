"""Append rows to the log, each with its salt and Merkle leaf, in the writer's transaction.

`seq` has no gaps and follows the order of commit. SQLite has one writer at a time and reuses the
number of a transaction that was rolled back; on PostgreSQL the row of `audit_head` stays locked
until the commit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ehr_gateway.database import Connection, array_literal
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS
from ehr_privacy.audit import SALT_BYTES, row_leaf

__all__ = ["RowValues", "SealedRow", "append_rows", "seal_rows"]

# The values of one row in the order of CONTENT_COLUMNS, and the same followed by salt and leaf.
RowValues = Sequence[str | int | None]
SealedRow = Sequence[str | int | bytes | None]

_COLUMNS = (*CONTENT_COLUMNS, "salt", "leaf")
_NAMES = ", ".join(_COLUMNS)
_PLACEHOLDERS = ", ".join("?" * len(_COLUMNS))
_ARRAY_TYPES = {"at_ms": "bigint[]", "salt": "bytea[]", "leaf": "bytea[]"}
_ARRAYS = ", ".join(f"CAST(? AS {_ARRAY_TYPES.get(name, 'text[]')})" for name in _COLUMNS)
_HEAD = (
    "WITH head AS (INSERT INTO audit_head (one, size) VALUES (1, ?) ON CONFLICT (one)"  # noqa: S608
    " DO UPDATE SET size = audit_head.size + excluded.size RETURNING size)"
    f" INSERT INTO audit (seq, {_NAMES})"
)
_INSERT_POSTGRESQL = f"{_HEAD} VALUES ((SELECT size FROM head), {_PLACEHOLDERS})"  # noqa: S608
# Many rows, each column an array, so that the log's head is updated once: a row costs the server 30
# us in place of 50 (batches of 100). For a single row the arrays cost more than they save.
_INSERT_MANY_POSTGRESQL = (
    f"{_HEAD} SELECT (SELECT size FROM head) - ? + place, {_NAMES}"  # noqa: S608
    f" FROM unnest({_ARRAYS}) WITH ORDINALITY AS rows ({_NAMES}, place)"
)
# Many rows in one statement: between two statements a thread may have to wait for the GIL.
_INSERT_SQLITE = {
    size: f"INSERT INTO audit ({_NAMES}) VALUES {', '.join([f'({_PLACEHOLDERS})'] * size)}"  # noqa: S608
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
            connection.execute(_INSERT_POSTGRESQL, (1, *rows[0]))
        elif rows:
            columns = map(array_literal, zip(*rows, strict=True))
            connection.execute(_INSERT_MANY_POSTGRESQL, (len(rows), len(rows), *columns))
        return
    done = 0
    for size, statement in _INSERT_SQLITE.items():
        while len(rows) - done >= size:
            batch = rows[done : done + size]
            connection.execute(statement, [value for row in batch for value in row])
            done += size
