"""A connection to PostgreSQL that the event loop watches, in libpq's pipeline mode.

What is sent without being waited for (the begin and the end of a transaction, a preparation)
travels with the next statement, so that it costs no round trip.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import psycopg
from psycopg import pq
from psycopg.pq import ConnStatus, ExecStatus

from ehr_gateway.database.postgresql_statements import (
    PooledConnection,
    StatementCall,
    error_of,
    send_call,
)

__all__ = ["ROLLBACK", "LoopSession"]

ROLLBACK = b"ROLLBACK"
# How long a transaction that has ended may stay open for the next statement. Chosen: some reads.
_ROLLBACK_SECONDS = 0.01
_LOST = "The connection to the database was lost."


class _Exchange:
    """What was sent up to a synchronisation point, and what becomes of its answer."""

    __slots__ = ("_answer", "_error", "_on_unprepared", "_prepared_by", "_succeeded", "_waiter")

    def __init__(self, waiter: asyncio.Future[pq.abc.PGresult] | None = None) -> None:
        self._waiter = waiter
        self._answer: pq.abc.PGresult | None = None
        # After the first error the server skips what was sent with it.
        self._error: psycopg.Error | None = None
        self._succeeded = 0
        self._prepared_by = 0
        self._on_unprepared: Callable[[], None] | None = None

    def expect_preparation(self, place: int, on_unprepared: Callable[[], None]) -> None:
        """Note which of the commands prepares a statement, and what to do if it fails."""
        self._prepared_by, self._on_unprepared = place, on_unprepared

    def add(self, result: pq.abc.PGresult) -> None:
        """Take in the result of the next command."""
        self._answer = result
        if self._error is not None:
            return
        if result.status == ExecStatus.FATAL_ERROR:
            self._error = error_of(result)
        else:
            self._succeeded += 1

    def end(self, lost: psycopg.Error | None = None) -> None:
        """Hand over the last command's result, or the first error."""
        error = self._error or lost
        if self._on_unprepared is not None and self._succeeded < self._prepared_by:
            self._on_unprepared()
        # One that is done was cancelled: nobody waits any more.
        if self._waiter is not None and not self._waiter.done():
            if error is None and self._answer is not None:
                self._waiter.set_result(self._answer)
            else:
                self._waiter.set_exception(error or psycopg.OperationalError(_LOST))


class LoopSession:
    """One connection of one event loop; statements are answered in the order they were sent."""

    def __init__(self, raw: PooledConnection, loop: asyncio.AbstractEventLoop) -> None:
        self.raw = raw
        self.is_lost = False
        self._wire = raw.pgconn
        self._socket = raw.pgconn.socket
        self._exchanges: deque[_Exchange] = deque()
        # Set between the end of a transaction and its ROLLBACK.
        self._rollback: asyncio.TimerHandle | None = None
        self._wire.nonblocking = 1
        self._wire.enter_pipeline_mode()
        self.watch_on(loop)

    def watch_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have a loop watch the connection, in place of one that is closed."""
        self._loop = loop
        if self._rollback is not None:
            # Its timer was the other loop's.
            self.end_transaction()
        loop.add_reader(self._socket, self._on_readable)

    def send(
        self, *calls: StatementCall, begin: bytes | None = None
    ) -> asyncio.Future[pq.abc.PGresult]:
        """Send statements, after the command that begins their transaction, if any.

        What is returned has the result of the last one, or the first error.
        """
        waiter: asyncio.Future[pq.abc.PGresult] = self._loop.create_future()
        exchange = _Exchange(waiter)
        try:
            commands = self._send_pending_rollback()
            if begin is not None:
                # First: nothing may come before it in its transaction.
                self._wire.send_query_params(begin, None)
                commands += 1
            for call in calls:
                if call.is_new:
                    commands += self._send_preparation(call)
                    exchange.expect_preparation(commands, partial(self._forget_new, calls))
                send_call(self._wire, call)
                commands += 1
            self._synchronise(exchange)
        except psycopg.Error as error:
            self._lose(error)
            if not waiter.done():
                waiter.set_exception(error)
        return waiter

    def send_command(self, command: bytes) -> None:
        """Send a command whose result nobody waits for."""
        if self.is_lost:
            return
        try:
            self._send_pending_rollback()
            self._wire.send_query_params(command, None)
            self._synchronise(_Exchange())
        except psycopg.Error as error:
            self._lose(error)

    def end_transaction(self) -> None:
        """End a read transaction with the next statement sent, or soon if there is none.

        To send something wakes the server, which costs both sides more than a short statement.
        """
        self._rollback = self._loop.call_later(_ROLLBACK_SECONDS, self._send_late_rollback)

    def _send_late_rollback(self) -> None:
        self._rollback = None
        self.send_command(ROLLBACK)

    def _send_pending_rollback(self) -> int:
        """Send the end of the transaction before, if it was not sent; return how many commands."""
        if self._rollback is None:
            return 0
        self._rollback.cancel()
        self._rollback = None
        self._wire.send_query_params(ROLLBACK, None)
        return 1

    def close(self) -> None:
        """Stop to watch the connection and close it; whoever waits gets an error."""
        if not self.is_lost:
            self._lose(psycopg.OperationalError(_LOST))
        self.raw.close()

    def _forget_new(self, calls: Sequence[StatementCall]) -> None:
        for call in calls:
            if call.is_new:
                self.raw.statements.forget(call)

    def _send_preparation(self, call: StatementCall) -> int:
        """Send what prepares a statement; return the number of commands."""
        assert call.name is not None  # noqa: S101 - a new one has a name
        if call.dropped is not None:
            self._wire.send_query_params(b"DEALLOCATE " + call.dropped, None)
        self._wire.send_prepare(call.name, call.text.encode(), call.types)
        return 1 if call.dropped is None else 2

    def _synchronise(self, exchange: _Exchange) -> None:
        """End an exchange, and send what libpq still holds."""
        self._exchanges.append(exchange)
        self._wire.pipeline_sync()
        if self._wire.flush():
            self._loop.add_writer(self._socket, self._on_writable)

    def _on_writable(self) -> None:
        try:
            if not self._wire.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.Error as error:
            self._lose(error)

    def _on_readable(self) -> None:
        wire, exchanges = self._wire, self._exchanges
        try:
            wire.consume_input()
            while exchanges and not wire.is_busy():
                result = wire.get_result()
                # None follows each statement's result.
                if result is None:
                    if wire.status != ConnStatus.OK:
                        break
                elif result.status == ExecStatus.PIPELINE_SYNC:
                    exchanges.popleft().end()
                else:
                    exchanges[0].add(result)
        except psycopg.Error as error:
            self._lose(error)
            return
        if wire.status != ConnStatus.OK:
            self._lose(psycopg.OperationalError(_LOST))

    def _lose(self, error: psycopg.Error) -> None:
        """Give the connection up: the server, the network or the watch has ended it."""
        if self.is_lost:
            return
        self.is_lost = True
        if not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        while self._exchanges:
            self._exchanges.popleft().end(error)
