"""Batch the audit entries of reads and spool them before their answers leave.

A route adds entries (`RequestContext.add_audit_entry`); `http.guard` sends the answer only after
`AuditBatcher.write` returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from ehr_gateway.audit_log.append import RowValues
from ehr_gateway.audit_log.spool import Spool
from ehr_gateway.database import Connection
from ehr_gateway.store.store import Store

__all__ = ["AuditBatcher", "AuditEntry"]

# Rows of the log, or what makes them of what the store knows about the records disclosed.
AuditEntry = Sequence[RowValues] | Callable[[Connection], Sequence[RowValues]]
_Waiting = tuple[Sequence[AuditEntry], "asyncio.Future[None]"]


class AuditBatcher:
    """Puts on record what one process discloses."""

    def __init__(self, store: Store, spool: Spool) -> None:
        self._store = store
        self._spool = spool
        self._waiting: list[_Waiting] = []
        self._begun = False

    async def write(self, notes: Sequence[AuditEntry]) -> None:
        """Return when the notes are kept; raise what prevented it."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append((notes, done))
        if not self._begun:
            self._begun = True
            # Not at once: what else becomes ready in this turn of the loop is kept with it.
            loop.call_soon(self._begin, loop)
        await done

    def carry(self) -> None:
        """Bring into the log what is kept by now, for whoever is about to read it."""
        self._spool.flush()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting, []
        self._begun = False
        if self._store.embedded is None:
            # The database is a network away: the loop does not wait.
            task = loop.run_in_executor(None, self._write, batch)
            task.add_done_callback(lambda task: self._end(loop, batch, task.exception()))
            return
        try:
            self._write(batch)
        except Exception as error:
            self._end(loop, batch, error)
        else:
            self._end(loop, batch, None)

    def _write(self, batch: Sequence[_Waiting]) -> None:
        # Each look-up stands by itself: whose record it is never changes, and rules are dated.
        with self._store.read_transaction(single_statement=True) as connection:
            rows = [
                row
                for notes, _ in batch
                for note in notes
                for row in (note(connection) if callable(note) else note)
            ]
        self._spool.append(rows)

    def _end(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[_Waiting],
        error: BaseException | None,
    ) -> None:
        if error is not None and len(batch) > 1:
            # One of them failed, and took the others with it: each again by itself.
            for one in batch:
                task = loop.run_in_executor(None, self._write, [one])
                task.add_done_callback(partial(_tell_one, one))
        else:
            for one in batch:
                _tell(one, error)


def _tell_one(one: _Waiting, task: asyncio.Future[None]) -> None:
    _tell(one, task.exception())


def _tell(one: _Waiting, error: BaseException | None) -> None:
    _, done = one
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
