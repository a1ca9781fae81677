"""Files of the database after an erasure: rewritten, so that no deleted row stays in them.

SQLite keeps deleted rows in free pages and in the log: the full-text index is merged, the file is
written anew (VACUUM) and the log emptied. PostgreSQL keeps dead rows in its tables: they are
written anew (VACUUM FULL); what its write-ahead log has goes when the server recycles it.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import psycopg
from psycopg import sql

from ehr_fhir.errors import Unavailable
from ehr_gateway.database.writer_turn import WriterTurn

__all__ = ["rewrite_database", "rewrite_sqlite_file"]

# How long to wait for the turn to write, and for readers to let go of the log. Chosen: longer than
# a batch of `ehr load` or a long search.
_TURN_SECONDS = 120.0
_PAUSE_SECONDS = 0.05


def rewrite_database(database: Path | str) -> None:
    """Write the files of a database anew, without deleted rows; writers wait meanwhile."""
    if isinstance(database, Path):
        _rewrite_sqlite(database)
    else:
        _rewrite_postgresql(database)


def rewrite_sqlite_file(path: Path) -> None:
    """Write an SQLite file anew that nobody else writes by turns, such as a program's own."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=_TURN_SECONDS)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("VACUUM")
        _empty_log(connection, path)


def _rewrite_sqlite(path: Path) -> None:
    with Path(f"{path}-writer").open("ab") as lock:
        turn = WriterTurn(lock)
        if not turn.acquire(_TURN_SECONDS):
            raise Unavailable("Another process writes all the time. Try again.")
        try:
            with closing(
                sqlite3.connect(path, isolation_level=None, timeout=_TURN_SECONDS)
            ) as connection:
                connection.execute("PRAGMA secure_delete = ON")
                # One segment: what was deleted stays in older ones until they are merged.
                connection.execute("INSERT INTO full_text (full_text) VALUES ('optimize')")
                connection.execute("VACUUM")
                _empty_log(connection, path)
        finally:
            turn.release()


def _empty_log(connection: sqlite3.Connection, path: Path) -> None:
    """Move the log into the file and cut it to nothing; old readers hold it for a moment."""
    deadline = time.monotonic() + _TURN_SECONDS
    while True:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            return
        if time.monotonic() >= deadline:
            raise Unavailable(f"A reader holds the log of {path.name}. Try again.")
        time.sleep(_PAUSE_SECONDS)


def _rewrite_postgresql(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT quote_ident(schemaname), quote_ident(tablename) FROM pg_tables"
            " WHERE schemaname = current_schema()"
        ).fetchall()
        for schema, table in tables:
            name = f"{schema}.{table}"
            connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(sql.SQL(name)))
        # It needs a right that an ordinary user may lack; the server does it in time by itself.
        with suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute("CHECKPOINT")
