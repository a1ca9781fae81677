"""SQLite: one file in WAL mode, one writer at a time over all processes, pooled readers.

A commit writes the log (WAL) to the operating system while the writer's lock is held; the flush to
disk follows once the lock is free, so that writers wait for each other's work but not for each
other's disk. No caller is told that a write is done before `SqliteDatabase.flush` returned. See
docs/decisions/004.
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
from ehr_gateway.database.connection import BudgetExceeded, Dialect, RedoJournal
from ehr_gateway.database.wal_flush import WriteAheadLog

__all__ = ["SqliteDatabase"]

# Chosen: a log of 32 MiB is checkpointed into the file; 4 MiB of it are kept, so that the next
# writes need not make the file grow again.
_WAL_CHECKPOINT_BYTES, _WAL_KEPT_BYTES = 32 << 20, 4 << 20
# The budget of a read on the event loop: 100 steps of 1,000 virtual machine instructions, about
# 2 ms (docs/decisions/004).
_BUDGET_STEPS, _INSTRUCTIONS_PER_STEP = 100, 1000
_PRAGMAS = (
    # A write changes a few bytes of many pages, and each page goes into the log whole: hence half
    # of SQLite's default size.
    "PRAGMA page_size = 2048",
    "PRAGMA journal_mode = WAL",
    "PRAGMA busy_timeout = 30000",
    # Checkpoints run beside the commits (`_checkpoint_long_log`); SQLite's own run inside one.
    "PRAGMA wal_autocheckpoint = 0",
    f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}",
    # A commit does not wait for the disk: `flush` does.
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",
)
# Chosen: above the threads that serve requests at once; more connections are closed after use.
_MAX_POOLED_READERS = 32


class SqliteConnection(sqlite3.Connection):
    """A connection that knows its dialect."""

    dialect: Dialect = "sqlite"
    journal: RedoJournal | None = None


class SqliteDatabase:
    """One SQLite file; several processes may have it open."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        # Used as a stack: the connection used last has its pages in memory.
        self._readers: deque[SqliteConnection] = deque()
        # Writers of several processes wait on a file lock, which wakes them at once; SQLite itself
        # would sleep and try again.
        self._lock_file = Path(f"{path}-writer").open("ab")
        self._writer = self._connect(cache_kib=16384)
        self._writer_lock = threading.Lock()
        self._wal = WriteAheadLog(Path(f"{path}-wal"))
        self._checkpoint_lock = threading.Lock()
        self._budget_thread: int | None = None

    @property
    def journal(self) -> RedoJournal | None:
        """The journal that is lent with the writer's connection."""
        return self._writer.journal

    @journal.setter
    def journal(self, journal: RedoJournal | None) -> None:
        self._writer.journal = journal

    @contextmanager
    def read_transaction(self, *, single_statement: bool = False) -> Iterator[SqliteConnection]:
        """Lend a connection inside one read transaction, or without one for a single statement."""
        try:
            # No lock: operations of a deque are atomic.
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
        """Abort reads of this thread that exceed the budget, by raising BudgetExceeded.

        For the event loop's thread: a read that takes longer is run again in the executor.
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
            self.end(commit=False)
            raise
        self.end(commit=True)
        self.flush()

    def begin(self, *, wait: bool = True) -> SqliteConnection | None:
        """Open the write transaction; without `wait`, return None when another writer has it."""
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

    def end(self, *, commit: bool) -> None:
        """Commit the write transaction or roll it back; `flush` puts the commit on disk."""
        try:
            with _translate_errors():
                _end_transaction(self._writer, self._lock_file, commit=commit)
        finally:
            self._writer_lock.release()

    def flush(self) -> None:
        """Return when all that was committed before the call is on disk."""
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
        """Checkpoint a long log into the database file, on a thread of its own."""
        if self._wal.size() > _WAL_CHECKPOINT_BYTES and self._checkpoint_lock.acquire(
            blocking=False
        ):
            threading.Thread(target=self._run_checkpoint).start()

    def _run_checkpoint(self) -> None:
        try:
            connection = self._connect()
            with closing(connection), Path(f"{self._path}-writer").open("ab") as lock:
                # Most of it while others write; the rest under the lock, since the log starts from
                # its beginning only after a checkpoint that no writer overtook.
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                fcntl.flock(lock, fcntl.LOCK_EX)
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            self._checkpoint_lock.release()

    def _connect(self, cache_kib: int = 4096) -> SqliteConnection:
        # The cache is this connection's own; the operating system caches the file for all.
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
    """Translate SQLite errors that are no fault of ours into errors for the client."""
    if "locked" in str(error) or "busy" in str(error):
        raise Unavailable("The database is busy. Try again.") from error
    # Not "full" alone: an error may name the table `full_text`.
    if "disk is full" in str(error):
        raise Unavailable("The database has no room left. Nothing is written.") from error
    if "interrupted" in str(error):
        raise BudgetExceeded("The search takes longer than a moment.") from error


def _budget_handler() -> Callable[[], bool]:
    """Return a progress handler that interrupts the statement when the budget is spent."""
    steps = iter(range(_BUDGET_STEPS))
    return lambda: next(steps, None) is None


def _begin_transaction(connection: SqliteConnection, lock: IO[bytes], *, wait: bool = True) -> bool:
    """Lock the file and open a transaction; return False when another process has the lock."""
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


def _end_transaction(connection: SqliteConnection, lock: IO[bytes], *, commit: bool) -> None:
    try:
        # On a full disk SQLite may have rolled back by itself: a rollback would then fail, and a
        # commit must, since nothing is written.
        if commit or connection.in_transaction:
            connection.execute("COMMIT" if commit else "ROLLBACK")
    finally:
        # A failed commit, for example for want of space, leaves the transaction open.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        fcntl.flock(lock, fcntl.LOCK_UN)
