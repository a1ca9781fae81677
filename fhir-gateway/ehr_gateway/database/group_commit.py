"""Group commit for PostgreSQL: writers that wait for each other share one commit and disk flush.

A writer that finds others waiting leaves the transaction open for the next one; the last of the
group commits for all. Each member but the first works inside a savepoint, so that its failure
rolls back its own work alone. No caller is told that a write is done before it is on disk.

`batch_queue.BatchQueue`, which batches SQLite's writes, does not fit here: it runs jobs on the
event loop, one after the other, and keeps a list of them. These callers are threads that already
run; each works on the connection inside its own `with` block, so there is nothing to queue but the
turn itself, and a lock does that.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from ehr_fhir.errors import Unavailable
from ehr_gateway.database.connection import Connection
from ehr_gateway.deadline import wait_seconds

__all__ = ["COMMIT_UNKNOWN", "NO_TURN", "GroupCommit"]

C = TypeVar("C", bound=Connection)
# Chosen: bounds how long the first member of a group waits for the last one's work.
_MAX_GROUP_SIZE = 64
# How long a thread waits for the turn of another: as for that of another process.
_TURN_SECONDS, _TURN_SECONDS_OTHERWISE = 5.0, 120.0
COMMIT_UNKNOWN = (
    "The database went away at the end of the write: whether it was made is not known."
    " Read it before you write it again."
)
NO_TURN = "Another process writes for longer than a request can wait. Try again."


class _Group:
    """The writers that share one commit."""

    def __init__(self) -> None:
        self.size = 0
        self.finished = threading.Event()
        self.failure: BaseException | None = None


class GroupCommit(Generic[C]):
    """One writer's connection, lent to one thread at a time.

    `begin` opens a transaction and returns its connection; `end` commits it (True) or rolls it back
    (False).
    """

    def __init__(self, begin: Callable[[], C], end: Callable[[C, bool], None]) -> None:
        self._begin = begin
        self._end = end
        # Held by the thread that works on the connection.
        self._turn = threading.Lock()
        self._waiting_lock = threading.Lock()
        self._waiting = 0
        # Whether the last writer left its transaction open for one that waits.
        self._is_left_open = False
        self._open_group: tuple[C, _Group] | None = None

    @contextmanager
    def write_transaction(self) -> Iterator[C]:
        """Lend the connection; what was written is committed when the context ends."""
        with self._own_turn():
            connection, group = self._join_group()
            try:
                yield connection
            except BaseException:
                self._roll_back_member(connection, group)
                raise
            self._release_member(connection, group)
        seconds = wait_seconds(math.inf, otherwise=threading.TIMEOUT_MAX)
        if not group.finished.wait(min(seconds, threading.TIMEOUT_MAX)):
            text = "The write was not done in time: whether it will be made is not known."
            raise Unavailable(f"{text} Read it before you write it again.")
        if group.failure is not None:
            raise group.failure

    @contextmanager
    def _own_turn(self) -> Iterator[None]:
        """Wait for the turn, counted among those who wait; raise Unavailable when that is long."""
        if not self._take_turn(wait_seconds(_TURN_SECONDS, otherwise=_TURN_SECONDS_OTHERWISE)):
            raise Unavailable(NO_TURN)
        try:
            yield
        finally:
            self._turn.release()

    def _take_turn(self, seconds: float) -> bool:
        with self._waiting_lock:
            self._waiting += 1
        has_turn = self._turn.acquire(timeout=seconds)
        with self._waiting_lock:
            self._waiting -= 1
            # The writer before has just left its transaction to this thread, which was the last to
            # wait: somebody must commit it, so the turn is taken after all.
            is_left_to_us = self._is_left_open and not self._waiting
        return has_turn or (is_left_to_us and self._turn.acquire())

    def _join_group(self) -> tuple[C, _Group]:
        """Open a transaction, or a savepoint in the one that the group has open."""
        with self._waiting_lock:
            self._is_left_open = False
        if self._open_group is None:
            self._open_group = (self._begin(), _Group())
        connection, group = self._open_group
        if group.size:
            with self._abort_group_on_error(connection, group):
                connection.execute("SAVEPOINT member")
        return connection, group

    def _release_member(self, connection: C, group: _Group) -> None:
        """Keep one member's work in the group's transaction."""
        if group.size:
            with self._abort_group_on_error(connection, group):
                connection.execute("RELEASE SAVEPOINT member")
        group.size += 1
        self._commit_unless_awaited(connection, group)

    def _roll_back_member(self, connection: C, group: _Group) -> None:
        """Roll back one member's work, and the transaction with it when there is no other."""
        if not group.size:
            self._open_group = None
            self._end(connection, False)
            return
        with self._abort_group_on_error(connection, group):
            connection.execute("ROLLBACK TO SAVEPOINT member")
            connection.execute("RELEASE SAVEPOINT member")
        self._commit_unless_awaited(connection, group)

    def _commit_unless_awaited(self, connection: C, group: _Group) -> None:
        """Leave the transaction open for the next writer that waits, or commit it for all."""
        with self._waiting_lock:
            self._is_left_open = self._waiting > 0 and group.size < _MAX_GROUP_SIZE
            if self._is_left_open:
                return
        self._open_group = None
        try:
            self._end(connection, True)
        except BaseException as error:
            group.failure = error
        finally:
            group.finished.set()

    @contextmanager
    def _abort_group_on_error(self, connection: C, group: _Group) -> Iterator[None]:
        """Fail all members when the transaction itself is lost: their work is lost with it."""
        try:
            yield
        except BaseException as error:
            self._open_group = None
            group.failure = error
            group.finished.set()
            self._end(connection, False)
            raise
