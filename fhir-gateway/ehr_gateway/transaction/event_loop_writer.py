"""Short SQLite writes on the event loop, in batches that share a transaction and a disk flush.

A write takes less time than handing it to a thread, and threads that write at the same time
contend for the interpreter (GIL) at every statement. So the loop runs the writes that came in
meanwhile itself, one after the other; only the waits, for the disk and for another process's
transaction, run in the executor. What a restore must repeat goes into the journal once for the
batch, before its commit. See docs/decisions/004.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from ehr_gateway.batch_queue import fail_all
from ehr_gateway.database import Connection, SqliteDatabase
from ehr_gateway.journal.redo_actions import RedoAction, append_redo_actions
from ehr_gateway.transaction.write_batch import (
    MAX_BATCH,
    BatchJournal,
    BatchWriter,
    PendingWrite,
    WriteResults,
    run_pending_write,
)

__all__ = ["EventLoopWriter"]


class EventLoopWriter(BatchWriter):
    """Runs the writes of one process's event loop."""

    def __init__(self, database: SqliteDatabase) -> None:
        super().__init__()
        self._database = database

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
        """Run a batch in one transaction; have it committed and flushed to disk."""
        batch, batch_journal = self._queue.take(MAX_BATCH), BatchJournal()
        try:
            results = self._run_jobs(connection, batch, batch_journal)
        except BaseException as error:
            with suppress(Exception):
                self._database.end(commit=False)
            fail_all(batch, self._database.translate_error(error))
            self._queue.start_next(loop)
            return
        if not batch_journal.redo_actions:
            self._commit(loop, results)
            return
        # The entry has to be on disk before the commit, and the loop must not wait for it.
        redo_actions = batch_journal.redo_actions
        committed = loop.run_in_executor(None, self._append_and_commit, connection, redo_actions)
        committed.add_done_callback(lambda commit: self._flush(loop, results, commit.exception()))

    def _run_jobs(
        self, connection: Connection, batch: list[PendingWrite], batch_journal: BatchJournal
    ) -> WriteResults:
        """Run each write in a savepoint; answer those that are refused, return the others."""
        results: WriteResults = []
        journal = self._database.journal
        if journal is not None:
            self._database.journal = batch_journal
        try:
            for pending in batch:
                action_count = len(batch_journal.redo_actions)
                connection.execute("SAVEPOINT job")
                try:
                    results.append((pending, run_pending_write(connection, pending)))
                except Exception as error:
                    translated = self._database.translate_error(error)
                    pending.set_error(translated)
                    del batch_journal.redo_actions[action_count:]
                    self._roll_back_job(connection, translated)
                connection.execute("RELEASE job")
        finally:
            # While the turn lasts: the next writer's redo actions go into the journal itself.
            self._database.journal = journal
        return results

    @staticmethod
    def _roll_back_job(connection: Connection, error: BaseException) -> None:
        try:
            connection.execute("ROLLBACK TO job")
        except sqlite3.OperationalError:
            # On a full disk SQLite has rolled the whole transaction back: no job of it is done.
            raise error from None

    def _append_and_commit(
        self, connection: Connection, redo_actions: Sequence[RedoAction]
    ) -> None:
        """Put redo actions on the journal's disk, then commit; in the executor."""
        try:
            append_redo_actions(connection, redo_actions)
        except BaseException as error:
            with suppress(Exception):
                self._database.end(commit=False)
            raise self._database.translate_error(error) from error
        self._database.end(commit=True)

    def _commit(self, loop: asyncio.AbstractEventLoop, results: WriteResults) -> None:
        try:
            self._database.end(commit=True)
        except Exception as error:
            self._flush(loop, results, error)
        else:
            self._flush(loop, results, None)

    def _flush(
        self, loop: asyncio.AbstractEventLoop, results: WriteResults, error: BaseException | None
    ) -> None:
        """Flush a committed batch to disk and answer it; answer one that failed at once."""
        # The next batch may begin while this one waits for the disk.
        self._queue.start_next(loop)
        if error is not None:
            _answer(results, error)
            return
        flushed = loop.run_in_executor(None, self._database.flush)
        flushed.add_done_callback(lambda flush: _answer(results, flush.exception()))

    def _refuse_all(self, loop: asyncio.AbstractEventLoop, error: BaseException) -> None:
        fail_all(self._queue.take(), error)
        self._queue.start_next(loop)


def _answer(results: WriteResults, error: BaseException | None) -> None:
    for pending, result in results:
        if error is None:
            pending.set_result(result)
        else:
            pending.set_error(error)
