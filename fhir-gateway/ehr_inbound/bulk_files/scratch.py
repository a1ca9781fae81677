"""What a load must remember of every resource, in a file beside its spool: memory stays small."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

__all__ = ["Scratch", "open_scratch"]

Scratch = sqlite3.Connection

_TABLES = (
    # What can be found by an identifier, for references by search.
    "CREATE TABLE identifier (type TEXT, system TEXT, value TEXT, id TEXT,"
    " PRIMARY KEY (type, system, value, id)) WITHOUT ROWID",
    # Where the resource of an id stands that is to be loaded.
    "CREATE TABLE place (type TEXT, id TEXT, unit INTEGER, line INTEGER, PRIMARY KEY (type, id))"
    " WITHOUT ROWID",
    # What others refer to.
    "CREATE TABLE target (type TEXT, id TEXT, PRIMARY KEY (type, id)) WITHOUT ROWID",
)


@contextmanager
def open_scratch(folder: Path) -> Iterator[Scratch]:
    """Lend a database for the time of one load."""
    with closing(sqlite3.connect(folder / "scratch.db", isolation_level=None)) as connection:
        # A load that ends before its time begins anew, so nothing need be safe or taken back.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        for table in _TABLES:
            connection.execute(table)
        connection.execute("BEGIN")
        yield connection
