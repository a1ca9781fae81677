"""SQLite: one file in WAL mode, one writer at a time over all processes, pooled readers.

A commit reaches the operating system while the writer's turn lasts, and the disk after it: writers
of all processes share the turn, not each other's waits for the disk. Nobody is told that a write is
done before `SqliteDatabase.flush` has put it there.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from ehr_fhir.errors import Unavailable
from ehr_gateway.database.connection import BudgetExceeded, Dialect
from ehr_gateway.database.wal_flush import WriteAheadLog

__all__ = ["SqliteDatabase"]

_WAL_CHECKPOINT_BYTES, _WAL_KEPT_BYTES = 32 << 20, 4 << 20
# A search in a hurry gives up after so many thousands of the database's own instructions: 2 ms.
_BUDGET_STEPS, _INSTRUCTIONS_PER_STEP = 100, 1000
_PRAGMAS = (
    # Each write touches a little of many pages and puts them whole into the log: small ones.
    "PRAGMA page_size = 2048",
    "PRAGMA journal_mode = WAL",
    "PRAGMA busy_timeout = 30000",
    # The log is carried into the file beside the commits (`_carry`), not inside one.
    "PRAGMA wal_autocheckpoint = 0",
    f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}",
    # `flush` is what waits for the disk.
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",
)
_MAX_POOLED_READERS = 32


class SqliteConnection(sqlite3.Connection):
    """A connection that knows its dialect."""

    dialect: Dialect = "sqlite"


class SqliteDatabase:
    """One SQLite file; several processes may have it open."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        # The last one used first: its pages are in memory.
        self._readers: deque[SqliteConnection] = deque()
        # SQLite's own way of waiting for another process is to sleep and try again.
        self._lock_file = Path(f"{path}-writer").open("ab")
        self._writer = self._connect(cache_kib=16384)
        self._writer_lock = threading.Lock()
        self._wal = WriteAheadLog(Path(f"{path}-wal"))
        self._checkpoint_lock = threading.Lock()
        self._budget_thread: int | None = None

    @contextmanager
    def read_transaction(self, *, single_statement: bool = False) -> Iterator[SqliteConnection]:
        """Lend a connection that sees one unchanging state: its transaction's, or `once`."""
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._connect()
        has_budget = self._budget_thread == threading.get_ident()
        try:
            if has_budget:
                connection.set_progress_handler(_budget_handler(), _INSTRUCTIONS_PER_STEP)
            if not single_statement:
                connection.execute("BEGIN")
            yield connection
        except sqlite3.OperationalError as error:
            _raise_client_error(error)
            raise
        finally:
            if has_budget:
                connection.set_progress_handler(None, 0)
            if not single_statement:
                connection.execute("ROLLBACK")
            if len(self._readers) < _MAX_POOLED_READERS:
                self._readers.append(connection)
            else:
                connection.close()

    @contextmanager
    def with_budget(self) -> Iterator[None]:
        """Let what this thread reads meanwhile take a moment only, else raise BudgetExceeded.

        For the one thread that serves all requests: what takes longer is done on another.
        """
        self._budget_thread = threading.get_ident()
        try:
            yield
        finally:
            self._budget_thread = None

    @contextmanager
    def write_transaction(self) -> Iterator[SqliteConnection]:
        """Lend the writer's connection inside one transaction, on disk when the context ends."""
        self.begin()
        try:
            with _translate_errors():
                yield self._writer
        except BaseException:
            self.end(keep=False)
            raise
        self.end(keep=True)
        self.flush()

    def begin(self, *, wait: bool = True) -> SqliteConnection | None:
        """Open the writer's transaction, or return None where another writer is at it."""
        if not self._writer_lock.acquire(blocking=wait):
            return None
        try:
            if _begin_transaction(self._writer, self._lock_file, wait=wait):
                return self._writer
        except BaseException:
            self._writer_lock.release()
            raise
        self._writer_lock.release()
        return None

    def end(self, *, keep: bool) -> None:
        """Commit the writer's transaction, or take it back; `flush` puts it on disk."""
        try:
            with _translate_errors():
                _end_transaction(self._writer, self._lock_file, keep=keep)
        finally:
            self._writer_lock.release()

    def flush(self) -> None:
        """Return when all that is committed by now is on disk."""
        self._wal.flush()
        self._checkpoint_long_log()

    def close(self) -> None:
        """Close every connection that is not lent."""
        with self._checkpoint_lock:
            self._wal.close()
        while self._readers:
            self._readers.pop().close()
        self._writer.close()
        self._lock_file.close()

    def _checkpoint_long_log(self) -> None:
        """Carry a long log into the file, on a thread of its own."""
        if self._wal.size() > _WAL_CHECKPOINT_BYTES and self._checkpoint_lock.acquire(
            blocking=False
        ):
            threading.Thread(target=self._run_checkpoint).start()

    def _run_checkpoint(self) -> None:
        try:
            connection = self._connect()
            with closing(connection), Path(f"{self._path}-writer").open("ab") as lock:
                # Most of it beside the writers; the rest in a turn, so that the log begins anew.
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                fcntl.flock(lock, fcntl.LOCK_EX)
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            self._checkpoint_lock.release()

    def _connect(self, cache_kib: int = 4096) -> SqliteConnection:
        # Each connection has a cache of its own; behind them all stands the operating system's.
        connection = sqlite3.connect(
            self._path,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=128,
            factory=SqliteConnection,
        )
        connection.row_factory = sqlite3.Row
        for pragma in (*_PRAGMAS, f"PRAGMA cache_size = -{cache_kib}"):
            connection.execute(pragma)
        return connection


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        _raise_client_error(error)
        raise


def _raise_client_error(error: sqlite3.OperationalError) -> None:
    """Raise what an error is to whoever asked, where it is no fault of ours."""
    if "locked" in str(error) or "busy" in str(error):
        raise Unavailable("The database is busy. Try again.") from error
    if "full" in str(error):
        raise Unavailable("The database has no room left. Nothing is written.") from error
    if "interrupted" in str(error):
        raise BudgetExceeded("The search takes longer than a moment.") from error


def _budget_handler() -> Callable[[], bool]:
    left = iter(range(_BUDGET_STEPS))
    return lambda: next(left, None) is None


def _begin_transaction(connection: SqliteConnection, lock: IO[bytes], *, wait: bool = True) -> bool:
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


def _end_transaction(connection: SqliteConnection, lock: IO[bytes], *, keep: bool) -> None:
    try:
        # A full disk may have had SQLite take the transaction back by itself: nothing is left to
        # take back then, and a commit of nothing fails, as it must.
        if keep or connection.in_transaction:
            connection.execute("COMMIT" if keep else "ROLLBACK")
    finally:
        # A commit that failed, for example for want of space, leaves the transaction open.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        fcntl.flock(lock, fcntl.LOCK_UN)
