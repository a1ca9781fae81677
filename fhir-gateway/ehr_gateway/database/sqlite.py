"""SQLite: one file in WAL mode, one writer at a time over all processes, pooled readers."""

from __future__ import annotations

import fcntl
import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ehr_fhir.errors import Unavailable
from ehr_gateway.database.connection import Dialect
from ehr_gateway.database.group import GroupCommit

__all__ = ["SqliteDatabase"]

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA busy_timeout = 30000",
    "PRAGMA mmap_size = 67108864",
    # In pages of 4 KiB: the log is carried into the file seldom, since somebody's commit waits.
    "PRAGMA wal_autocheckpoint = 8192",
    "PRAGMA temp_store = MEMORY",
)
_MOST_READERS = 32


class SqliteConnection(sqlite3.Connection):
    """A connection that knows its dialect."""

    dialect: Dialect = "sqlite"


class SqliteDatabase:
    """One SQLite file; several processes may have it open."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._readers: queue.LifoQueue[SqliteConnection] = queue.LifoQueue(_MOST_READERS)
        # SQLite's own way of waiting for another process is to sleep and try again.
        # (A lock belongs to an open file, so the two connections need one each.)
        self._locks = [Path(f"{path}-writer").open("ab") for _ in ("writer", "notes")]
        self._writer = self._connect("FULL", cache_kib=16384)
        self._notes = self._connect("NORMAL")
        self._group = GroupCommit(self._begin_group, self._end_group)
        self._noting = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[SqliteConnection]:
        """Lend a connection that sees one unchanging state."""
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = self._connect("NORMAL")
        try:
            with _available():
                connection.execute("BEGIN")
                yield connection
        finally:
            connection.execute("ROLLBACK")
            try:
                self._readers.put_nowait(connection)
            except queue.Full:
                connection.close()

    @contextmanager
    def writing(self) -> Iterator[SqliteConnection]:
        """Lend the writer's connection inside one transaction, on disk when the context ends."""
        with _available(), self._group.writing() as connection:
            yield connection

    @contextmanager
    def noting(self, *, wait: bool = True) -> Iterator[SqliteConnection | None]:
        """Lend a connection whose commits do not wait for the disk."""
        if not self._noting.acquire(blocking=wait):
            yield None
            return
        try:
            if not _begin(self._notes, self._locks[1], wait=wait):
                yield None
                return
            try:
                with _available():
                    yield self._notes
            except BaseException:
                _end(self._notes, self._locks[1], keep=False)
                raise
            _end(self._notes, self._locks[1], keep=True)
        finally:
            self._noting.release()

    def close(self) -> None:
        """Close every connection that is not lent."""
        while not self._readers.empty():
            self._readers.get_nowait().close()
        self._writer.close()
        self._notes.close()
        for lock in self._locks:
            lock.close()

    def _begin_group(self) -> SqliteConnection:
        _begin(self._writer, self._locks[0])
        return self._writer

    def _end_group(self, connection: SqliteConnection, keep: bool) -> None:
        _end(connection, self._locks[0], keep=keep)

    def _connect(self, synchronous: str, cache_kib: int = 2048) -> SqliteConnection:
        # Each connection has a cache of its own; behind them all stands the operating system's.
        connection = sqlite3.connect(
            self._path,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=128,
            factory=SqliteConnection,
        )
        connection.row_factory = sqlite3.Row
        for pragma in (
            *_PRAGMAS,
            f"PRAGMA synchronous = {synchronous}",
            f"PRAGMA cache_size = -{cache_kib}",
        ):
            connection.execute(pragma)
        return connection


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise Unavailable("The database is busy. Try again.") from error
        raise


def _begin(connection: SqliteConnection, lock: IO[bytes], *, wait: bool = True) -> bool:
    """Take the writer's turn and open a transaction; say whether that could be done."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        connection.execute("BEGIN IMMEDIATE")
    except BaseException as error:
        fcntl.flock(lock, fcntl.LOCK_UN)
        if isinstance(error, sqlite3.OperationalError):
            raise Unavailable("The store is busy with a long write. Try again.") from None
        raise
    return True


def _end(connection: SqliteConnection, lock: IO[bytes], *, keep: bool) -> None:
    try:
        connection.execute("COMMIT" if keep else "ROLLBACK")
    finally:
        # A commit that failed, for example for want of space, leaves the transaction open.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        fcntl.flock(lock, fcntl.LOCK_UN)
