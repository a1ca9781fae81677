"""Short SQLite writes on the event loop, in batches that share a transaction and a disk flush.

A write takes less time than handing it to a thread, and threads that write at the same time
contend for the interpreter (GIL) at every statement. So the loop runs the writes that came in
meanwhile itself, one after the other; only the waits, for the disk and for another process's
transaction, run in the executor. See docs/decisions/004.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from ehr_gateway.batch_queue import BatchQueue, PendingItem, fail_all
from ehr_gateway.database import Connection, SqliteDatabase
from ehr_gateway.deadline import Deadline, current_deadline
from ehr_gateway.store.store import Store

__all__ = ["EventLoopWriter", "WriteJob", "run_write"]

T = TypeVar("T")
# Writes on the connection it is given, and returns the answer.
WriteJob = Callable[[Connection], T]


@dataclass(frozen=True, slots=True)
class _QueuedWrite:
    """A write that waits for its batch, and the deadline of its request."""

    job: WriteJob[Any]
    deadline: Deadline | None


_PendingWrite = PendingItem[_QueuedWrite, Any]
# Chosen: while a batch runs the loop does nothing else, and a write takes under a millisecond.
_MAX_BATCH = 16


def run_write(store: Store, job: WriteJob[T]) -> T:
    """Run one write on the caller's thread; return when it is on disk."""
    with store.write_transaction() as connection:
        return job(connection)


class EventLoopWriter:
    """Runs the writes of one process's event loop."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._queue: BatchQueue[_QueuedWrite, Any] = BatchQueue(self._start_batch)

    async def write(self, job: WriteJob[T]) -> T:
        """Return what the job returned once it is on disk; raise what it raised.

        The write of a request that is abandoned before its batch begins is not made; of one that
        is abandoned later it commits all the same.
        """
        result: T = await self._queue.submit(_QueuedWrite(job, current_deadline()))
        return result

    def _start_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            connection = self._database.begin(wait=False)
        except Exception as error:
            self._refuse_all(loop, error)
            return
        if connection is not None:
            self._run_batch(loop, connection)
            return
        # Another thread or process holds the writer's lock: the loop must not wait for it.
        locked = loop.run_in_executor(None, self._database.begin_for_batch)
        locked.add_done_callback(partial(self._on_locked, loop))

    def _on_locked(
        self, loop: asyncio.AbstractEventLoop, locked: asyncio.Future[Connection | None]
    ) -> None:
        error = locked.exception()
        connection = None if error else locked.result()
        if connection is None:
            self._refuse_all(loop, error or RuntimeError("no transaction was opened"))
        else:
            self._run_batch(loop, connection)

    def _run_batch(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        """Run a batch, each write in a savepoint; commit it and have it flushed to disk."""
        batch = self._queue.take(_MAX_BATCH)
        results: list[tuple[_PendingWrite, Any]] = []
        try:
            for pending in batch:
                connection.execute("SAVEPOINT job")
                try:
                    if pending.item.deadline is not None:
                        pending.item.deadline.check()
                    results.append((pending, pending.item.job(connection)))
                except Exception as error:
                    translated = self._database.translate_error(error)
                    pending.set_error(translated)
                    self._roll_back_job(connection, translated)
                connection.execute("RELEASE job")
        except BaseException as error:
            with suppress(Exception):
                self._database.end(commit=False)
            fail_all(batch, self._database.translate_error(error))
        else:
            self._commit(loop, batch, results)
        self._queue.start_next(loop)

    @staticmethod
    def _roll_back_job(connection: Connection, error: BaseException) -> None:
        try:
            connection.execute("ROLLBACK TO job")
        except sqlite3.OperationalError:
            # On a full disk SQLite has rolled the whole transaction back: no job of it is done.
            raise error from None

    def _commit(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[_PendingWrite],
        results: list[tuple[_PendingWrite, Any]],
    ) -> None:
        try:
            self._database.end(commit=True)
        except Exception as error:
            fail_all(batch, error)
            return
        # The next batch may begin while this one waits for the disk.
        flushed = loop.run_in_executor(None, self._database.flush)
        flushed.add_done_callback(lambda flush: _answer(results, flush.exception()))

    def _refuse_all(self, loop: asyncio.AbstractEventLoop, error: BaseException) -> None:
        fail_all(self._queue.take(), error)
        self._queue.start_next(loop)


def _answer(results: list[tuple[_PendingWrite, Any]], error: BaseException | None) -> None:
    for pending, result in results:
        if error is None:
            pending.set_result(result)
        else:
            pending.set_error(error)
