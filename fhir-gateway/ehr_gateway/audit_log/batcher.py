"""Batch the audit entries of reads and spool them before their answers leave.

A route adds entries (`RequestContext.add_audit_entry`); `http.request_guard` sends the answer only
after `AuditBatcher.write` returned. See docs/decisions/006.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ehr_gateway.audit_log.append import RowValues
from ehr_gateway.audit_log.spool import Spool
from ehr_gateway.batch_queue import BatchQueue, PendingItem
from ehr_gateway.database import BudgetExceeded, Connection, run_cooperatively
from ehr_gateway.store.store import Store

__all__ = ["AuditBatcher", "AuditEntry"]

# Rows of the log, or what makes them of what the store knows about the records disclosed.
AuditEntry = Sequence[RowValues] | Callable[[Connection], Sequence[RowValues]]
_PendingEntries = PendingItem[Sequence[AuditEntry], None]


class AuditBatcher:
    """Spools what one process discloses."""

    def __init__(self, store: Store, spool: Spool) -> None:
        self._store = store
        self._spool = spool
        self._queue: BatchQueue[Sequence[AuditEntry], None] = BatchQueue(self._start_batch)
        self._tasks: set[asyncio.Task[None]] = set()

    async def write(self, entries: Sequence[AuditEntry]) -> None:
        """Return when the entries are spooled; raise what prevented it."""
        await self._queue.submit(entries)

    def flush(self) -> None:
        """Flush spooled audit rows into the database, for a reader of the log."""
        self._spool.flush()

    def _start_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._queue.take()
        # Batches may overlap: the spool takes them in any order.
        self._queue.start_next(loop)
        if self._store.embedded is None and any(callable(entry) for entry in _entries_of(batch)):
            self._start_task(loop, batch)
            return
        try:
            self._write(batch)
        except Exception as error:
            self._end_batch(loop, batch, error)
        else:
            self._end_batch(loop, batch, None)

    def _start_task(
        self, loop: asyncio.AbstractEventLoop, batch: Sequence[_PendingEntries]
    ) -> None:
        task = loop.create_task(self._write_elsewhere(loop, batch))
        # The loop itself does not keep its tasks.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: self._end_batch(loop, batch, _error_of(task)))

    async def _write_elsewhere(
        self, loop: asyncio.AbstractEventLoop, batch: Sequence[_PendingEntries]
    ) -> None:
        """Write a batch without holding up the loop: it waits for a server, or for a thread."""
        if self._store.embedded is None:
            try:
                await run_cooperatively(self._write, batch)
            except BudgetExceeded:
                pass
            else:
                return
        await loop.run_in_executor(None, self._write, batch)

    def _write(self, batch: Sequence[_PendingEntries]) -> None:
        entries = _entries_of(batch)
        if any(map(callable, entries)):
            # No transaction: whose record it is never changes and rules are dated, so the look-ups
            # need not see one state of the store.
            with self._store.read_transaction(single_statement=True) as connection:
                rows = [row for entry in entries for row in _build_rows(entry, connection)]
        else:
            # Refusals are spooled while the database is away.
            rows = [row for entry in entries if not callable(entry) for row in entry]
        self._spool.append(rows)

    def _end_batch(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[_PendingEntries],
        error: BaseException | None,
    ) -> None:
        if error is not None and len(batch) > 1:
            # One request's entries failed, and the others' with them: retry each alone.
            for pending in batch:
                self._start_task(loop, [pending])
            return
        for pending in batch:
            if error is None:
                pending.set_result(None)
            else:
                pending.set_error(error)


def _entries_of(batch: Sequence[_PendingEntries]) -> list[AuditEntry]:
    return [entry for pending in batch for entry in pending.item]


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def _build_rows(entry: AuditEntry, connection: Connection) -> Sequence[RowValues]:
    return entry(connection) if callable(entry) else entry
