"""Writes what answers disclose before they leave; requests in flight share one transaction.

A route notes what it discloses (`Asking.note`); `outcome.Guard` lets no answer out before its notes
are written here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from ehr_gateway.database import Connection, Database

__all__ = ["Auditor", "Note"]

# Writes one or more rows of the log.
Note = Callable[[Connection], None]
_TRIES = 10
_Waiting = tuple[Sequence[Note], "asyncio.Future[None]"]


class Auditor:
    """The audit log's writer in one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._writing = False

    async def write(self, notes: Sequence[Note]) -> None:
        """Return when the notes are written; raise what kept them from it."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append((notes, done))
        if not self._writing:
            self._writing = True
            # Not at once: what else becomes ready in this turn of the loop joins the transaction.
            loop.call_soon(self._begin, loop)
        await done

    def _begin(self, loop: asyncio.AbstractEventLoop, tries: int = 0) -> None:
        batch, self._waiting = self._waiting, []
        try:
            written = self._write(batch, wait=False)
        except Exception as error:
            self._end(loop, batch, error)
            return
        if written:
            self._end(loop, batch, None)
            return
        if tries < _TRIES and self._database.dialect == "sqlite":
            # Most often another process that does the same: it takes less than a change of thread.
            self._waiting = batch + self._waiting
            loop.call_soon(self._begin, loop, tries + 1)
            return
        # Another writer is at it, or the database is a network away: the loop does not wait.
        task = loop.run_in_executor(None, lambda: self._write(batch, wait=True))
        task.add_done_callback(lambda task: self._end(loop, batch, task.exception()))

    def _write(self, batch: Sequence[_Waiting], *, wait: bool) -> bool:
        with self._database.noting(wait=wait) as connection:
            if connection is None:
                return False
            for notes, _ in batch:
                for note in notes:
                    note(connection)
        return True

    def _end(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[_Waiting],
        error: BaseException | None,
    ) -> None:
        if error is not None and len(batch) > 1:
            # One of them failed, and took the others with it: each again by itself.
            for one in batch:
                task = loop.run_in_executor(None, partial(self._write, [one], wait=True))
                task.add_done_callback(partial(_tell_one, one))
        else:
            for one in batch:
                _tell(one, error)
        self._writing = bool(self._waiting)
        if self._writing:
            loop.call_soon(self._begin, loop)


def _tell_one(one: _Waiting, task: asyncio.Future[bool]) -> None:
    _tell(one, task.exception())


def _tell(one: _Waiting, error: BaseException | None) -> None:
    _, done = one
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
