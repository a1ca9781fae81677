"""The scratch database of a load: what it must remember of every resource, outside of memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

__all__ = ["Scratch", "open_scratch"]

Scratch = sqlite3.Connection

_TABLES = (
    # Resources by identifier, for conditional references.
    "CREATE TABLE identifier (type TEXT, system TEXT, value TEXT, id TEXT,"
    " PRIMARY KEY (type, system, value, id)) WITHOUT ROWID",
    # Unit, place in the unit and digest of each resource that is to be loaded, and of which time.
    "CREATE TABLE place (type TEXT, id TEXT, unit INTEGER, position INTEGER, digest BLOB,"
    " updated_ms INTEGER, version INTEGER, PRIMARY KEY (type, id)) WITHOUT ROWID",
    # Resources that stand in the load again, unchanged.
    "CREATE TABLE repeat (type TEXT, id TEXT, unit INTEGER, line INTEGER)",
    # What resources of the load refer to.
    "CREATE TABLE target (type TEXT, id TEXT, PRIMARY KEY (type, id)) WITHOUT ROWID",
)


@contextmanager
def open_scratch(folder: Path) -> Iterator[Scratch]:
    """Open a database for one load."""
    with closing(sqlite3.connect(folder / "scratch.db", isolation_level=None)) as connection:
        # An interrupted load starts anew, so the database needs neither durability nor rollback.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        for table in _TABLES:
            connection.execute(table)
        connection.execute("BEGIN")
        yield connection
