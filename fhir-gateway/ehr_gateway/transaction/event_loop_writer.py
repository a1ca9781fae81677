"""The short writes of the event loop: those that wait share a transaction, and a flush of the disk.

In an SQLite file a write takes less than a change of thread, and threads that use it at once take
the interpreter from each other at every statement. So the loop itself makes the writes that came in
meanwhile, one after the other; only the wait for the disk, and for another process, is elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from ehr_gateway.database import Connection, SqliteDatabase
from ehr_gateway.store.store import Store

__all__ = ["EventLoopWriter", "WriteJob", "run_write"]

T = TypeVar("T")
# Writes on the connection it is given, and returns the answer.
WriteJob = Callable[[Connection], T]
_Waiting = tuple[WriteJob[Any], "asyncio.Future[Any]"]
_MAX_BATCH = 16


def run_write(store: Store, job: WriteJob[T]) -> T:
    """Make one write on the caller's thread; return when it is on disk."""
    with store.write_transaction() as connection:
        return job(connection)


class EventLoopWriter:
    """Makes the writes of one process's event loop."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._begun = False

    async def write(self, job: WriteJob[T]) -> T:
        """Return what the job returned when it is on disk; raise what it raised."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append((job, done))
        if not self._begun:
            self._begun = True
            loop.call_soon(self._begin, loop)
        return await done

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            connection = self._database.begin(wait=False)
        except Exception as error:
            self._refuse(loop, error)
            return
        if connection is not None:
            self._work(loop, connection)
            return
        # Another thread or process is at it: the loop does not wait.
        turn = loop.run_in_executor(None, self._database.begin)
        turn.add_done_callback(partial(self._come, loop))

    def _come(
        self, loop: asyncio.AbstractEventLoop, turn: asyncio.Future[Connection | None]
    ) -> None:
        error = turn.exception()
        connection = None if error else turn.result()
        if connection is None:
            self._refuse(loop, error or RuntimeError("no turn"))
        else:
            self._work(loop, connection)

    def _work(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        """Make the writes that wait, each within a savepoint, and hand them to the disk."""
        jobs, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
        kept: list[tuple[asyncio.Future[Any], Any]] = []
        try:
            for job, done in jobs:
                connection.execute("SAVEPOINT one")
                try:
                    kept.append((done, job(connection)))
                except Exception as error:
                    connection.execute("ROLLBACK TO one")
                    _settle(done, error=error)
                connection.execute("RELEASE one")
        except BaseException as error:
            with suppress(Exception):
                self._database.end(keep=False)
            self._over(loop, jobs, error)
            return
        try:
            self._database.end(keep=True)
        except Exception as error:
            self._over(loop, jobs, error)
            return
        flushed = loop.run_in_executor(None, self._database.flush)
        flushed.add_done_callback(lambda done: _tell(kept, done.exception()))
        self._next(loop)

    def _over(
        self, loop: asyncio.AbstractEventLoop, jobs: list[_Waiting], error: BaseException
    ) -> None:
        for _, done in jobs:
            _settle(done, error=error)
        self._next(loop)

    def _refuse(self, loop: asyncio.AbstractEventLoop, error: BaseException) -> None:
        jobs, self._waiting = self._waiting, []
        self._over(loop, jobs, error)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._begun = bool(self._waiting)
        if self._begun:
            loop.call_soon(self._begin, loop)


def _tell(kept: list[tuple[asyncio.Future[Any], Any]], error: BaseException | None) -> None:
    for done, answer in kept:
        _settle(done, answer, error=error)


def _settle(
    done: asyncio.Future[Any], answer: Any = None, *, error: BaseException | None = None
) -> None:
    # One that was cancelled, its client gone, is made all the same.
    if done.done():
        return
    if error is None:
        done.set_result(answer)
    else:
        done.set_exception(error)
