"""Exclusive use of a database while it is upgraded.

`begin_upgrade` commits a mark (the setting `upgrade`) and then looks for other processes. A process
that opens the store later reads the mark and refuses; one from before there was a mark refuses
because its `layout` setting is gone. Marking first and looking second leaves no gap between them.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

from ehr_fhir.errors import Unavailable
from ehr_gateway.schema.revision import BASELINE_LAYOUT, LAYOUT_SETTING, UPGRADE_SETTING

__all__ = ["begin_upgrade", "upgrade_lock"]

# Any number does, except that of the writer's lock (`database.postgresql`).
_ADVISORY_LOCK = 0x65485222
# Chosen: PostgreSQL lists a connection for some milliseconds after it was closed, and a process
# that is told to stop takes about a second.
_MAX_WAIT_SECONDS = 3.0
_POLL_SECONDS = 0.1
_MARK = (UPGRADE_SETTING, b"")
_INSERT_MARK = "INSERT INTO setting (name, value) VALUES ({0}, {0}) ON CONFLICT DO NOTHING"
_DELETE_MARK = f"DELETE FROM setting WHERE name = '{UPGRADE_SETTING}'"  # noqa: S608
_DELETE_LAYOUT = f"DELETE FROM setting WHERE name = '{LAYOUT_SETTING}'"  # noqa: S608
# Every version connects under this name; `_connect` uses another one.
_COUNT_OTHERS = (
    "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'ehr-commons'"
)
_IN_USE = (
    "The database is in use: a gateway or another command has it open. Stop it, then run "
    "`ehr upgrade` again. Nothing is changed."
)
_ALREADY_RUNNING = "Another `ehr upgrade` of this database is under way."


@contextmanager
def upgrade_lock(location: Path | str) -> Iterator[None]:
    """Hold the lock that one upgrade at a time has; the system frees it when the process ends."""
    if isinstance(location, str):
        with _connect(location) as connection:
            row = connection.execute(
                "SELECT pg_try_advisory_lock(%s)", (_ADVISORY_LOCK,)
            ).fetchone()
            if row is None or not row[0]:
                raise Unavailable(_ALREADY_RUNNING)
            yield
        return
    path = Path(f"{location}-upgrade")
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(_ALREADY_RUNNING) from None
        yield
        path.unlink(missing_ok=True)


def begin_upgrade(location: Path | str) -> None:
    """Mark a database as being upgraded; raise Unavailable if another process has it open."""
    if isinstance(location, str):
        _begin_postgresql(location)
    else:
        _begin_sqlite(location)


def _begin_sqlite(path: Path) -> None:
    connection = sqlite3.connect(path, timeout=_MAX_WAIT_SECONDS, isolation_level=None)
    with closing(connection):
        # In WAL mode every open connection holds a shared lock on the file, an idle one too. A
        # transaction in exclusive locking mode therefore begins only when there is no other.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise Unavailable(_IN_USE) from error
        connection.execute(_INSERT_MARK.format("?"), _MARK)
        connection.execute(_DELETE_LAYOUT)
        connection.execute("COMMIT")


def _begin_postgresql(url: str) -> None:
    with _connect(url) as connection:
        with connection.transaction():
            inserted_marks = connection.execute(_INSERT_MARK.format("%s"), _MARK).rowcount
            deleted_layouts = connection.execute(_DELETE_LAYOUT).rowcount
        if _wait_until_alone(connection):
            return
        with connection.transaction():
            # A mark that an interrupted upgrade left stays.
            if inserted_marks:
                connection.execute(_DELETE_MARK)
            if deleted_layouts:
                connection.execute(
                    "INSERT INTO setting (name, value) VALUES (%s, %s)",
                    (LAYOUT_SETTING, BASELINE_LAYOUT),
                )
        raise Unavailable(_IN_USE)


def _wait_until_alone(connection: psycopg.Connection) -> bool:
    """Wait a moment for the product's other connections to end; return whether none is left."""
    deadline = time.monotonic() + _MAX_WAIT_SECONDS
    while True:
        row = connection.execute(_COUNT_OTHERS).fetchone()
        if row is not None and not row[0]:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)


def _connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True, application_name="ehr-commons-upgrade")
