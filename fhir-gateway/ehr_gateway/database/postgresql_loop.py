"""Transactions on the event loop: connections of PostgreSQL lent to cooperative code."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType

import psycopg

from ehr_fhir.errors import Unavailable
from ehr_gateway.database.availability import LENT_SECONDS_OTHERWISE, Availability
from ehr_gateway.database.connection import BudgetExceeded, Dialect, Parameters, RedoJournal
from ehr_gateway.database.cooperative import run_blocking, wait_for
from ehr_gateway.database.group_commit import COMMIT_UNKNOWN
from ehr_gateway.database.postgresql_rows import Result
from ehr_gateway.database.postgresql_session import ROLLBACK, LoopSession
from ehr_gateway.database.postgresql_statements import PooledConnection, translate
from ehr_gateway.deadline import wait_seconds

__all__ = ["LoopConnection", "LoopSessions", "LoopTransaction", "LoopWriteTransaction"]

# Connections that are kept for a loop; the rest of the pool is for threads.
_MAX_IDLE = 8
# What may be read at once: to make an answer of so many rows takes the loop about 2 ms, as the
# budget of a search on SQLite. A request that reads more begins again on a thread.
_MAX_ROWS = 200
_BEGIN = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_BEGIN_WRITE = b"BEGIN"
_COMMIT = translate("COMMIT")


class LoopConnection:
    """A connection lent to cooperative code.

    A read of more than `max_rows` raises BudgetExceeded.
    """

    dialect: Dialect = "postgresql"

    def __init__(
        self,
        session: LoopSession,
        begin: bytes | None,
        *,
        max_rows: int | None = _MAX_ROWS,
        journal: RedoJournal | None = None,
    ) -> None:
        self.journal = journal
        self._session = session
        # Sent with the first statement.
        self._begin = begin
        self._max_rows = max_rows

    def execute(self, sql: str, parameters: Parameters = (), /) -> Result:
        """Run one statement; the loop serves others until its result is here."""
        session = self._session
        statements = session.raw.statements
        begin, self._begin = self._begin, None
        result = wait_for(session.send(statements.call(translate(sql), parameters), begin=begin))
        if self._max_rows is not None and result.ntuples > self._max_rows:
            raise BudgetExceeded("The answer is too long for the event loop.")
        return statements.read(result)

    def executemany(self, sql: str, rows: Iterable[Parameters], /) -> object:
        """Run one statement for each row; all go to the server at once."""
        session, statement = self._session, translate(sql)
        statements = session.raw.statements
        calls = [statements.call(statement, row) for row in rows]
        if not calls:
            return None
        begin, self._begin = self._begin, None
        return statements.read(wait_for(session.send(*calls, begin=begin)))

    def send_command(self, command: bytes) -> None:
        """Send a command that nobody waits for, in a transaction that has begun."""
        self._session.send_command(command)

    def end(self) -> None:
        """End the transaction, if it has begun."""
        if self._begin is None:
            self._session.end_transaction()


class LoopSessions:
    """The connections of each event loop; they come out of the database's pool.

    A server has one loop; tests run several, one after the other.
    """

    def __init__(
        self,
        open_connection: Callable[[], PooledConnection],
        give_back: Callable[[PooledConnection], None],
        availability: Availability,
        translate_error: Callable[[Exception], Exception],
    ) -> None:
        self._translate_error = translate_error
        self._open_connection = open_connection
        self._give_back = give_back
        self._availability = availability
        self._idle: dict[asyncio.AbstractEventLoop, deque[LoopSession]] = {}

    def take(self) -> LoopSession:
        """Lend a living connection; after a restart of the server some are dead."""
        try:
            return self._take_living()
        except Exception as error:
            self.raise_translated(error)
            raise

    def raise_translated(self, error: BaseException | None) -> None:
        """Raise an error of the driver as one of the product's; do nothing for any other one."""
        if isinstance(error, Exception):
            translated = self._translate_error(error)
            if translated is not error:
                raise translated from error

    def _take_living(self) -> LoopSession:
        loop = asyncio.get_running_loop()
        idle = self._idle_of(loop)
        if not self._availability.is_up:
            # It may wait a moment.
            run_blocking(self._availability.check)
        # The one used last: the fewer are in use, the fewer statements the server keeps.
        while idle:
            session = idle.pop()
            if not session.is_lost:
                break
            self._discard(session)
            self._availability.doubt()
            run_blocking(self._availability.check)
        else:
            session = LoopSession(run_blocking(self._open_connection), loop)
        seconds = wait_seconds(math.inf, otherwise=LENT_SECONDS_OTHERWISE)
        self._availability.lend(session.raw, seconds)
        return session

    def take_back(self, session: LoopSession) -> None:
        """End a loan; a connection that was cut off meanwhile is closed."""
        idle = self._idle_of(asyncio.get_running_loop())
        is_usable = self._availability.take_back(session.raw) and not session.is_lost
        if is_usable and len(idle) < _MAX_IDLE:
            idle.append(session)
        else:
            self._discard(session)

    def close(self) -> None:
        """Close every connection that is not lent."""
        for idle in self._idle.values():
            while idle:
                self._discard(idle.pop())

    def _discard(self, session: LoopSession) -> None:
        session.close()
        self._give_back(session.raw)

    def _idle_of(self, loop: asyncio.AbstractEventLoop) -> deque[LoopSession]:
        """Return the idle connections of a loop; a new one inherits those of loops that ended."""
        idle = self._idle.get(loop)
        if idle is None:
            idle = self._idle[loop] = deque()
            for ended in [other for other in self._idle if other.is_closed()]:
                for session in self._idle.pop(ended):
                    session.watch_on(loop)
                    idle.append(session)
        return idle


class LoopTransaction:
    """Context manager of a read on the event loop; a class, since a generator costs more."""

    def __init__(self, sessions: LoopSessions, *, single_statement: bool) -> None:
        self._sessions = sessions
        self._is_single = single_statement

    def __enter__(self) -> LoopConnection:
        self._session = self._sessions.take()
        self._connection = LoopConnection(self._session, None if self._is_single else _BEGIN)
        return self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_single:
            self._connection.end()
        self._sessions.take_back(self._session)
        self._sessions.raise_translated(error)


class LoopWriteTransaction:
    """Context manager of a write on the event loop, committed when the context ends.

    `lock`: the statement that takes the writer's turn, which the end of the transaction releases.
    """

    def __init__(
        self,
        sessions: LoopSessions,
        *,
        lock: str,
        journal: RedoJournal | None,
        on_commit: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._lock = lock
        self._journal = journal
        self._on_commit = on_commit

    def __enter__(self) -> LoopConnection:
        self._session = self._sessions.take()
        connection = LoopConnection(
            self._session, _BEGIN_WRITE, max_rows=None, journal=self._journal
        )
        try:
            connection.execute(self._lock)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._commit()
            elif not self._session.is_lost:
                # A server that went away has rolled the work back itself.
                self._session.send_command(ROLLBACK)
        except psycopg.Error as failure:
            if self._session.is_lost:
                raise Unavailable(COMMIT_UNKNOWN) from failure
            self._sessions.raise_translated(failure)
            raise
        finally:
            self._sessions.take_back(self._session)
        self._sessions.raise_translated(error)

    def _commit(self) -> None:
        statements = self._session.raw.statements
        result = wait_for(self._session.send(statements.call(_COMMIT, ())))
        statements.read(result)
        if result.command_status != b"COMMIT":
            # A statement had failed, and somebody went on all the same.
            raise Unavailable("The write failed. Nothing is written.")
        self._on_commit()
