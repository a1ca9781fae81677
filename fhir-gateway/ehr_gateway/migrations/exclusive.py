"""Sole use of a database during an upgrade: nobody else in it, and nobody let in.

The mark (the setting `upgrade`) is committed first and others are looked for afterwards. Whoever
comes later reads the mark and stays out, also a version from before there was a mark: it misses its
`layout`. So no process can slip in between.
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

# Any number does that is not the writer's (`database.postgresql`).
_UPGRADE_LOCK = 0x65485222
# A connection that was closed a moment ago is still listed by PostgreSQL, or still locks the file.
_PATIENCE_SECONDS = 3.0
_PAUSE_SECONDS = 0.1
_MARK = (UPGRADE_SETTING, b"")
_SET_MARK = "INSERT INTO setting (name, value) VALUES ({0}, {0}) ON CONFLICT DO NOTHING"
_DROP_MARK = f"DELETE FROM setting WHERE name = '{UPGRADE_SETTING}'"  # noqa: S608
_DROP_LAYOUT = f"DELETE FROM setting WHERE name = '{LAYOUT_SETTING}'"  # noqa: S608
_OTHERS = (
    "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'ehr-commons'"
)
_IN_USE = (
    "The database is in use: a gateway or another command has it open. Stop it, then run "
    "`ehr upgrade` again. Nothing is changed."
)
_TWICE = "Another `ehr upgrade` of this database is under way."


@contextmanager
def upgrade_lock(place: Path | str) -> Iterator[None]:
    """Hold the lock of upgrades; it ends with the process, however that ends."""
    if isinstance(place, str):
        with _connect(place) as connection:
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_UPGRADE_LOCK,)).fetchone()
            if row is None or not row[0]:
                raise Unavailable(_TWICE)
            yield
        return
    path = Path(f"{place}-upgrade")
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(_TWICE) from None
        yield
        path.unlink(missing_ok=True)


def begin_upgrade(place: Path | str) -> None:
    """Mark a database as being upgraded; Unavailable, and no mark, where others have it open."""
    if isinstance(place, str):
        _begin_postgresql(place)
    else:
        _begin_sqlite(place)


def _begin_sqlite(path: Path) -> None:
    connection = sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None)
    with closing(connection):
        # Every open connection in WAL mode holds a shared lock on the file, idle ones too: in this
        # mode a transaction begins only when there is none.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise Unavailable(_IN_USE) from error
        connection.execute(_SET_MARK.format("?"), _MARK)
        connection.execute(_DROP_LAYOUT)
        connection.execute("COMMIT")


def _begin_postgresql(url: str) -> None:
    with _connect(url) as connection:
        with connection.transaction():
            marked = connection.execute(_SET_MARK.format("%s"), _MARK).rowcount
            layouts = connection.execute(_DROP_LAYOUT).rowcount
        if not _others_leave(connection):
            with connection.transaction():
                if marked:
                    connection.execute(_DROP_MARK)
                if layouts:
                    connection.execute(
                        "INSERT INTO setting (name, value) VALUES (%s, %s)",
                        (LAYOUT_SETTING, BASELINE_LAYOUT),
                    )
            raise Unavailable(_IN_USE)


def _others_leave(connection: psycopg.Connection) -> bool:
    """Wait a moment for other connections of the product to end; return whether there is none."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        row = connection.execute(_OTHERS).fetchone()
        if row is not None and not row[0]:
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(_PAUSE_SECONDS)


def _connect(url: str) -> psycopg.Connection:
    """Connect under a name of its own: gateways are counted by theirs."""
    return psycopg.connect(url, autocommit=True, application_name="ehr-commons-upgrade")
