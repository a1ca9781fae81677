"""SQLite: one file in WAL mode, one writer at a time over all processes, pooled readers.

A commit writes the log (WAL) to the operating system while the writer's lock is held; the flush to
disk follows once the lock is free, so that writers wait for each other's work but not for each
other's disk. No caller is told that a write is done before `SqliteDatabase.flush` returned. See
docs/decisions/004.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ehr_fhir.errors import Unavailable
from ehr_gateway.database.connection import BudgetExceeded, Dialect, RedoJournal
from ehr_gateway.database.sqlite_errors import translate_error
from ehr_gateway.database.wal_flush import WriteAheadLog
from ehr_gateway.database.writer_turn import WriterTurn
from ehr_gateway.deadline import Deadline, current_deadline, wait_seconds
from ehr_gateway.incidents import WRITES_REFUSED, Incidents
from ehr_gateway.private_file import restrict_to_owner

__all__ = ["SqliteDatabase"]

# Chosen: a log of 32 MiB is checkpointed into the file; 4 MiB of it are kept, so that the next
# writes need not make the file grow again.
_WAL_CHECKPOINT_BYTES, _WAL_KEPT_BYTES = 32 << 20, 4 << 20
# The budget of a read on the event loop: 100 steps of 1,000 virtual machine instructions, about
# 2 ms (docs/decisions/004).
_BUDGET_STEPS, _INSTRUCTIONS_PER_STEP = 100, 1000
# How often a read on a thread looks at its request's deadline: about every 2 ms.
_INSTRUCTIONS_PER_DEADLINE_CHECK = 100_000
# How long a writer waits for its turn. In a request: chosen above what one batch of `ehr load`
# takes (about a second), below what clients wait for. Otherwise: longer than the largest Bundle.
_TURN_SECONDS, _TURN_SECONDS_OTHERWISE = 5.0, 120.0
# How long SQLite waits for a lock that another program holds (a reader's, for one that recovers or
# moves the log; the event loop stands still meanwhile). The writer asks again until its turn ends.
_BUSY_MS, _WRITER_BUSY_MS = 3000, 200
# How long the log's checkpoint waits for the writer's turn before it is left for later.
_CHECKPOINT_TURN_SECONDS = 5.0
_PRAGMAS = (
    # A write changes a few bytes of many pages, and each page goes into the log whole: hence half
    # of SQLite's default size.
    "PRAGMA page_size = 2048",
    "PRAGMA journal_mode = WAL",
    # Checkpoints run beside the commits (`_checkpoint_long_log`); SQLite's own run inside one.
    "PRAGMA wal_autocheckpoint = 0",
    f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}",
    # A commit does not wait for the disk: `flush` does.
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",
)
_NO_TURN = "Another process writes for longer than a request can wait. Try again."
_LOG = logging.getLogger("ehr_gateway")
# Chosen: above the threads that serve requests at once; more connections are closed after use.
_MAX_POOLED_READERS = 32


def _make_private(path: Path) -> None:
    """Create the database's file with mode 0600; take others' rights from one that exists."""
    # Never opened where it exists: closing it would drop the locks that SQLite's connections of
    # this process hold on it (POSIX).
    with suppress(FileExistsError):
        path.touch(0o600, exist_ok=False)
    # SQLite gives the log and its index the mode of the database.
    for suffix in ("", "-wal", "-shm", "-writer"):
        restrict_to_owner(Path(f"{path}{suffix}"))


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
        self.incidents = Incidents()
        # Writers of several processes wait on a file lock, which wakes them at once; SQLite itself
        # would sleep and try again.
        _make_private(path)
        self._lock_file = Path(f"{path}-writer").open("ab")
        self._turn = WriterTurn(self._lock_file)
        self._writer = self._connect(cache_kib=16384, busy_ms=_WRITER_BUSY_MS)
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
        deadline = current_deadline()
        try:
            if has_budget:
                connection.set_progress_handler(_budget_handler(), _INSTRUCTIONS_PER_STEP)
            elif deadline is not None:
                _end_at_deadline(connection, deadline)
            if not single_statement:
                connection.execute("BEGIN")
            yield connection
        except sqlite3.OperationalError as error:
            if has_budget and error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise BudgetExceeded("The search takes longer than a moment.") from error
            raise translate_error(error, self.incidents) from error
        finally:
            if has_budget or deadline is not None:
                connection.set_progress_handler(None, 0)
            if connection.in_transaction:
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
        """Lend the writer's connection inside one transaction, on disk when the context ends.

        Raises Unavailable when the turn does not come in time.
        """
        self.begin()
        deadline = current_deadline()
        try:
            if deadline is not None:
                _end_at_deadline(self._writer, deadline)
            with self._translate_errors():
                yield self._writer
        except BaseException:
            self.end(commit=False)
            raise
        finally:
            if deadline is not None:
                self._writer.set_progress_handler(None, 0)
        self.end(commit=True)
        self.flush()

    def begin(self, *, wait: bool = True) -> SqliteConnection | None:
        """Open the write transaction; without `wait`, return None when another writer has it.

        Raises Unavailable when the turn does not come in time.
        """
        if wait:
            return self._begin_within(wait_seconds(_TURN_SECONDS, _TURN_SECONDS_OTHERWISE))
        if not self._writer_lock.acquire(blocking=False):
            return None
        if not self._turn.try_acquire():
            self._writer_lock.release()
            return None
        return self._open_transaction(until=0.0)

    def begin_for_batch(self) -> SqliteConnection:
        """Open the write transaction for several requests, on a thread that belongs to none."""
        return self._begin_within(_TURN_SECONDS)

    def end(self, *, commit: bool) -> None:
        """Commit the write transaction or roll it back; `flush` puts the commit on disk."""
        try:
            with self._translate_errors():
                _end_transaction(self._writer, commit=commit)
        finally:
            self._release_turn()
        if commit:
            self.incidents.end(WRITES_REFUSED)

    def flush(self) -> None:
        """Return when all that was committed before the call is on disk."""
        self._wal.flush()
        self._checkpoint_long_log()

    def close(self) -> None:
        """Close every connection that is not lent."""
        # A checkpoint that waits for the turn may still run when the process ends.
        has_lock = self._checkpoint_lock.acquire(timeout=_CHECKPOINT_TURN_SECONDS)
        self._wal.close()
        while self._readers:
            self._readers.pop().close()
        self._writer.close()
        self._lock_file.close()
        if has_lock:
            self._checkpoint_lock.release()

    def _begin_within(self, seconds: float) -> SqliteConnection:
        until = time.monotonic() + seconds
        if not self._writer_lock.acquire(timeout=seconds):
            raise Unavailable(_NO_TURN)
        if not self._turn.acquire(max(0.0, until - time.monotonic())):
            self._writer_lock.release()
            raise Unavailable(_NO_TURN)
        return self._open_transaction(until)

    def _open_transaction(self, until: float) -> SqliteConnection:
        """Begin in a turn of ours; another program may hold SQLite's own lock until then."""
        try:
            while True:
                try:
                    self._writer.execute("BEGIN IMMEDIATE")
                    return self._writer
                except sqlite3.OperationalError as error:
                    translated = translate_error(error, self.incidents)
                    is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                    if not is_busy or time.monotonic() >= until:
                        raise translated from error
        except BaseException:
            self._release_turn()
            raise

    def _release_turn(self) -> None:
        try:
            self._turn.release()
        finally:
            self._writer_lock.release()

    def translate_error(self, error: BaseException) -> BaseException:
        """Return SQLite's error as one of the product's; any other error as it is."""
        if isinstance(error, sqlite3.OperationalError):
            return translate_error(error, self.incidents)
        return error

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise translate_error(error, self.incidents) from error

    def _checkpoint_long_log(self) -> None:
        """Checkpoint a long log into the database file, on a thread of its own."""
        if self._wal.size() > _WAL_CHECKPOINT_BYTES and self._checkpoint_lock.acquire(
            blocking=False
        ):
            # A daemon: a process that ends does not wait for it, since the log is valid as it is.
            threading.Thread(target=self._run_checkpoint, daemon=True).start()

    def _run_checkpoint(self) -> None:
        try:
            connection = self._connect()
            with closing(connection), Path(f"{self._path}-writer").open("ab") as lock:
                # Most of it while others write; the rest under the lock, since the log starts from
                # its beginning only after a checkpoint that no writer overtook.
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                if WriterTurn(lock).acquire(_CHECKPOINT_TURN_SECONDS):
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except (sqlite3.Error, OSError) as error:
            _LOG.error("No checkpoint of the database's log: %s.", type(error).__name__)
        finally:
            self._checkpoint_lock.release()

    def _connect(self, cache_kib: int = 4096, busy_ms: int = _BUSY_MS) -> SqliteConnection:
        # The cache is this connection's own; the operating system caches the file for all.
        connection = sqlite3.connect(
            self._path,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=128,
            factory=SqliteConnection,
        )
        connection.row_factory = sqlite3.Row
        settings = (f"PRAGMA cache_size = -{cache_kib}", f"PRAGMA busy_timeout = {busy_ms}")
        for pragma in (*_PRAGMAS, *settings):
            connection.execute(pragma)
        return connection


def _budget_handler() -> Callable[[], bool]:
    """Return a progress handler that interrupts the statement when the budget is spent."""
    steps = iter(range(_BUDGET_STEPS))
    return lambda: next(steps, None) is None


def _end_at_deadline(connection: SqliteConnection, deadline: Deadline) -> None:
    """Interrupt statements when the request's deadline is over, or its client has gone."""
    connection.set_progress_handler(lambda: deadline.is_over, _INSTRUCTIONS_PER_DEADLINE_CHECK)


def _end_transaction(connection: SqliteConnection, *, commit: bool) -> None:
    try:
        # On a full disk SQLite may have rolled back by itself: a rollback would then fail, and a
        # commit must, since nothing is written.
        if commit or connection.in_transaction:
            connection.execute("COMMIT" if commit else "ROLLBACK")
    finally:
        # A failed commit, for example for want of space, leaves the transaction open.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
