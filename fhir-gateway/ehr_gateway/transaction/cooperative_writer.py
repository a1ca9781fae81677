"""Short PostgreSQL writes on the event loop, in batches that share a transaction and a disk flush.

One batch runs at a time. While it waits for the database, or for the turn of another process, the
loop serves other requests, and the writes that come in make the next batch. See docs/decisions/004
and 010.
"""

from __future__ import annotations

import asyncio
from contextvars import Context

from ehr_gateway.batch_queue import fail_all
from ehr_gateway.database import LoopConnection, PostgresqlDatabase, run_cooperatively
from ehr_gateway.journal.redo_actions import append_redo_actions
from ehr_gateway.transaction.write_batch import (
    MAX_BATCH,
    BatchJournal,
    BatchWriter,
    PendingWrite,
    WriteResults,
    run_pending_write,
)

__all__ = ["CooperativeWriter"]


class CooperativeWriter(BatchWriter):
    """Runs the writes of one process's event loop on a database server."""

    def __init__(self, database: PostgresqlDatabase) -> None:
        super().__init__()
        self._database = database
        # The loop itself keeps weak references to tasks.
        self._task: asyncio.Task[None] | None = None

    def _start_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        # In a context of its own: the deadline of the request that came first is not the batch's.
        self._task = loop.create_task(run_cooperatively(self._run_batch, loop), context=Context())

    def _run_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        batch: list[PendingWrite] = []
        results: WriteResults = []
        try:
            with self._database.write_on_loop() as connection:
                # What came in during the wait for the turn is written with the rest.
                batch = self._queue.take(MAX_BATCH)
                self._run_jobs(connection, batch, results)
        except BaseException as error:
            fail_all(batch or self._queue.take(), error)
        else:
            for pending, result in results:
                pending.set_result(result)
        finally:
            self._queue.start_next(loop)

    def _run_jobs(
        self, connection: LoopConnection, batch: list[PendingWrite], results: WriteResults
    ) -> None:
        """Run each write; answer those that are refused, add the results of the others."""
        journal, batch_journal = connection.journal, BatchJournal()
        if journal is not None:
            connection.journal = batch_journal
        if len(batch) == 1:
            # The transaction itself takes back the work of one that fails.
            results.append((batch[0], run_pending_write(connection, batch[0])))
        else:
            for pending in batch:
                self._run_in_savepoint(connection, pending, results, batch_journal)
        connection.journal = journal
        append_redo_actions(connection, batch_journal.redo_actions)

    def _run_in_savepoint(
        self,
        connection: LoopConnection,
        pending: PendingWrite,
        results: WriteResults,
        batch_journal: BatchJournal,
    ) -> None:
        action_count = len(batch_journal.redo_actions)
        connection.send_command(b"SAVEPOINT job")
        try:
            results.append((pending, run_pending_write(connection, pending)))
        except Exception as error:
            connection.send_command(b"ROLLBACK TO SAVEPOINT job")
            del batch_journal.redo_actions[action_count:]
            pending.set_error(self._database.translate_error(error))
        connection.send_command(b"RELEASE SAVEPOINT job")
