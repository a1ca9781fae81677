"""Group commit: writers that wait for each other share one commit, and so one flush of the disk.

A writer that finds others waiting leaves the transaction open for the next one; the last of the
group commits for all. Each member but the first works inside a savepoint, so that its failure
takes back its own work alone. Nobody is told that a write is done before it is on disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from ehr_gateway.database.connection import Connection

__all__ = ["GroupCommit"]

C = TypeVar("C", bound=Connection)
_MAX_GROUP_SIZE = 64


class _Group:
    """The writers of one commit."""

    def __init__(self) -> None:
        self.members = 0
        self.over = threading.Event()
        self.failure: BaseException | None = None


class GroupCommit(Generic[C]):
    """One writer's connection, lent to one thread at a time.

    `begin` opens a transaction and returns its connection; `end` commits it, or takes it back.
    """

    def __init__(self, begin: Callable[[], C], end: Callable[[C, bool], None]) -> None:
        self._begin = begin
        self._end = end
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._waiting = 0
        self._open: tuple[C, _Group] | None = None

    @contextmanager
    def write_transaction(self) -> Iterator[C]:
        """Lend the connection; when the context ends, what was written is committed."""
        with self._count:
            self._waiting += 1
        with self._turn:
            with self._count:
                self._waiting -= 1
            connection, group = self._join_group()
            try:
                yield connection
            except BaseException:
                self._roll_back_member(connection, group)
                raise
            self._release_member(connection, group)
        group.over.wait()
        if group.failure is not None:
            raise group.failure

    def _join_group(self) -> tuple[C, _Group]:
        if self._open is None:
            self._open = (self._begin(), _Group())
        connection, group = self._open
        if group.members:
            with self._abort_group_on_error(connection, group):
                connection.execute("SAVEPOINT member")
        return connection, group

    def _release_member(self, connection: C, group: _Group) -> None:
        if group.members:
            with self._abort_group_on_error(connection, group):
                connection.execute("RELEASE SAVEPOINT member")
        group.members += 1
        self._commit_unless_joined(connection, group)

    def _roll_back_member(self, connection: C, group: _Group) -> None:
        """Take back one member's work, and the transaction with it when there is no other."""
        if not group.members:
            self._open = None
            self._end(connection, False)
            return
        with self._abort_group_on_error(connection, group):
            connection.execute("ROLLBACK TO SAVEPOINT member")
            connection.execute("RELEASE SAVEPOINT member")
        self._commit_unless_joined(connection, group)

    def _commit_unless_joined(self, connection: C, group: _Group) -> None:
        """Leave the transaction to the next writer, or commit it for all."""
        if self._waiting and group.members < _MAX_GROUP_SIZE:
            return
        self._open = None
        try:
            self._end(connection, True)
        except BaseException as error:
            group.failure = error
        finally:
            group.over.set()

    @contextmanager
    def _abort_group_on_error(self, connection: C, group: _Group) -> Iterator[None]:
        """Where the transaction itself is lost, so is the work of all its members."""
        try:
            yield
        except BaseException as error:
            self._open = None
            group.failure = error
            group.over.set()
            self._end(connection, False)
            raise
