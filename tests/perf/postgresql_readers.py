"""Ways to send one statement to PostgreSQL from an event loop, each the least it can be.

Every reader prepares `SELECT body FROM record WHERE type = $1 AND id = $2` once for each connection
and returns the body.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import anyio.to_thread
import psycopg
from psycopg import pq
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from tests.perf.gateway.sketch import OpenReader, Read

__all__ = ["READERS"]

_CONNECTIONS = 4
_SQL = "SELECT body FROM record WHERE type = $1 AND id = $2"
_NAME = b"read"
_BINARY = 1


async def _without_database(_: str) -> Read:
    """Answer from memory: what HTTP alone costs."""
    body = b'{"resourceType": "Patient"}' + b" " * 900

    async def read(kind: str, identity: str) -> bytes:
        return body

    return read


async def _psycopg_threads(url: str) -> Read:
    def configure(raw: psycopg.Connection[Any]) -> None:
        raw.cursor_factory = psycopg.RawCursor
        raw.prepare_threshold = 0

    pool = ConnectionPool(
        url,
        min_size=_CONNECTIONS,
        kwargs={"autocommit": True},
        configure=configure,
        open=True,
    )

    def read_on_thread(kind: str, identity: str) -> bytes:
        with pool.connection() as raw:
            row = raw.cursor(binary=True).execute(_SQL, (kind, identity)).fetchone()
        return bytes(row[0]) if row else b""

    async def read(kind: str, identity: str) -> bytes:
        return await anyio.to_thread.run_sync(read_on_thread, kind, identity)

    return read


async def _psycopg_async(url: str) -> Read:
    async def configure(raw: psycopg.AsyncConnection[Any]) -> None:
        raw.cursor_factory = psycopg.AsyncRawCursor
        raw.prepare_threshold = 0

    pool = AsyncConnectionPool(
        url,
        min_size=_CONNECTIONS,
        kwargs={"autocommit": True},
        configure=configure,
        open=False,
    )
    await pool.open(wait=True)

    async def read(kind: str, identity: str) -> bytes:
        async with pool.connection() as raw:
            cursor = raw.cursor(binary=True)
            await cursor.execute(_SQL, (kind, identity))
            row = await cursor.fetchone()
        return bytes(row[0]) if row else b""

    return read


async def _asyncpg(url: str) -> Read:
    # No dependency of the project: `pip install asyncpg` to measure it.
    import asyncpg  # type: ignore[import-not-found,unused-ignore]

    pool: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(_CONNECTIONS):
        connection = await asyncpg.connect(url)
        pool.put_nowait(await connection.prepare(_SQL))

    async def read(kind: str, identity: str) -> bytes:
        statement = await pool.get()
        try:
            return bytes(await statement.fetchval(kind, identity))
        finally:
            pool.put_nowait(statement)

    return read


def _connect(url: str) -> pq.abc.PGconn:
    """Return a connection of libpq's with the statement prepared, which does not block."""
    raw = pq.PGconn.connect(url.encode())
    raw.prepare(_NAME, _SQL.encode())
    raw.nonblocking = 1
    return raw


class _LibpqConnection:
    """libpq's own functions with the loop watching the socket; one statement at a time."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self._wire = _connect(url)
        self._waiter: asyncio.Future[pq.abc.PGresult] | None = None
        self._loop = loop
        loop.add_reader(self._wire.socket, self._on_readable)

    def send(self, kind: str, identity: str) -> asyncio.Future[pq.abc.PGresult]:
        values = [kind.encode(), identity.encode()]
        self._wire.send_query_prepared(_NAME, values, result_format=_BINARY)
        self._wire.flush()
        self._waiter = self._loop.create_future()
        return self._waiter

    def _on_readable(self) -> None:
        self._wire.consume_input()
        last = None
        while not self._wire.is_busy():
            result = self._wire.get_result()
            if result is None:
                break
            last = result
        if last is not None and self._waiter is not None:
            self._waiter.set_result(last)
            self._waiter = None


async def _libpq(url: str) -> Read:
    pool: deque[_LibpqConnection] = deque()
    loop = asyncio.get_running_loop()
    for _ in range(_CONNECTIONS * 2):
        pool.append(_LibpqConnection(url, loop))

    async def read(kind: str, identity: str) -> bytes:
        connection = pool.pop()
        result = await connection.send(kind, identity)
        pool.append(connection)
        return bytes(result.get_value(0, 0) or b"")

    return read


class _LibpqPipeline:
    """One connection for all requests, in libpq's pipeline mode.

    What becomes ready in one turn of the loop is sent at once.
    """

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self._wire = _connect(url)
        self._wire.enter_pipeline_mode()
        self._waiting: deque[asyncio.Future[pq.abc.PGresult]] = deque()
        self._is_scheduled = False
        self._loop = loop
        loop.add_reader(self._wire.socket, self._on_readable)

    def send(self, kind: str, identity: str) -> asyncio.Future[pq.abc.PGresult]:
        values = [kind.encode(), identity.encode()]
        self._wire.send_query_prepared(_NAME, values, result_format=_BINARY)
        self._wire.pipeline_sync()
        waiter: asyncio.Future[pq.abc.PGresult] = self._loop.create_future()
        self._waiting.append(waiter)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)
        return waiter

    def _flush(self) -> None:
        self._is_scheduled = False
        self._wire.flush()

    def _on_readable(self) -> None:
        self._wire.consume_input()
        while not self._wire.is_busy():
            result = self._wire.get_result()
            if result is None:
                if not self._waiting:
                    break
            elif result.status == pq.ExecStatus.TUPLES_OK:
                self._waiting.popleft().set_result(result)
            elif result.status == pq.ExecStatus.PIPELINE_SYNC and not self._waiting:
                break


async def _libpq_pipeline(url: str) -> Read:
    connection = _LibpqPipeline(url, asyncio.get_running_loop())

    async def read(kind: str, identity: str) -> bytes:
        result = await connection.send(kind, identity)
        return bytes(result.get_value(0, 0) or b"")

    return read


READERS: dict[str, OpenReader] = {
    "no database": _without_database,
    "psycopg, threads": _psycopg_threads,
    "psycopg, async": _psycopg_async,
    "asyncpg": _asyncpg,
    "libpq on the loop": _libpq,
    "libpq, pipelined": _libpq_pipeline,
}
