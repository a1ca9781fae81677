"""Short PostgreSQL writes on the event loop, in batches that share a transaction and a disk flush.

One batch runs at a time. While it waits for the database, or for the turn of another process, the
loop serves other requests, and the writes that come in make the next batch. Threads would cost each
statement a change of thread. See docs/decisions/004 and 010.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TypeVar

from ehr_gateway.batch_queue import BatchQueue, PendingItem, fail_all
from ehr_gateway.database import LoopConnection, PostgresqlDatabase, run_cooperatively
from ehr_gateway.deadline import current_deadline
from ehr_gateway.transaction.event_loop_writer import QueuedWrite, WriteJob

__all__ = ["CooperativeWriter"]

T = TypeVar("T")
# Chosen: bounds how long the first of a batch waits for the last one's work.
_MAX_BATCH = 16


class CooperativeWriter:
    """Runs the writes of one process's event loop on a database server."""

    def __init__(self, database: PostgresqlDatabase) -> None:
        self._database = database
        self._queue: BatchQueue[QueuedWrite, object] = BatchQueue(self._start_batch)
        # The loop keeps weak references to tasks.
        self._task: asyncio.Task[None] | None = None

    async def write(self, job: WriteJob[T]) -> T:
        """Return what the job returned once it is on disk; raise what it raised.

        The write of a request that is abandoned before its batch begins is not made; of one that
        is abandoned later it commits all the same.
        """
        result: T = await self._queue.submit(QueuedWrite(job, current_deadline()))  # type: ignore[assignment]
        return result

    def _start_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        # Without the deadline of the request that came first.
        self._task = loop.create_task(run_cooperatively(self._run_batch, loop), context=Context())

    def _run_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        batch: list[PendingItem[QueuedWrite, object]] = []
        results: list[tuple[PendingItem[QueuedWrite, object], object]] = []
        try:
            with self._database.write_on_loop() as connection:
                # What came in during the wait for the turn is written with the rest.
                batch = self._queue.take(_MAX_BATCH)
                for pending in batch:
                    self._run_job(connection, pending, results)
        except BaseException as error:
            fail_all(batch or self._queue.take(), error)
            if not isinstance(error, Exception):
                raise
        else:
            for pending, result in results:
                pending.set_result(result)
        finally:
            self._queue.start_next(loop)

    def _run_job(
        self,
        connection: LoopConnection,
        pending: PendingItem[QueuedWrite, object],
        results: list[tuple[PendingItem[QueuedWrite, object], object]],
    ) -> None:
        """Run one write in a savepoint; its failure rolls back its own work alone."""
        connection.send_command(b"SAVEPOINT job")
        try:
            if pending.item.deadline is not None:
                pending.item.deadline.check()
            results.append((pending, pending.item.job(connection)))
        except Exception as error:
            connection.send_command(b"ROLLBACK TO SAVEPOINT job")
            pending.set_error(self._database.translate_error(error))
        connection.send_command(b"RELEASE SAVEPOINT job")
