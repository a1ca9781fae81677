"""PostgreSQL through psycopg: a pool of readers, and one writer at a time by an advisory lock.

With one writer, as on SQLite, commits are in the order of the feed's positions and "create if none
matches" needs no retries. Writers that wait share a commit (`group_commit.py`). See
docs/decisions/004.
"""

from __future__ import annotations

import logging
import math
import select
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import islice
from typing import Any

import psycopg
from psycopg import pq
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.types.numeric import Int8Dumper
from psycopg_pool import ConnectionPool, PoolTimeout

from ehr_fhir.errors import Unavailable
from ehr_gateway.database.availability import AWAY, LENT_SECONDS_OTHERWISE, Availability
from ehr_gateway.database.connection import Connection, Dialect, Parameters, RedoJournal
from ehr_gateway.database.cooperative import is_cooperative
from ehr_gateway.database.group_commit import COMMIT_UNKNOWN, NO_TURN, GroupCommit
from ehr_gateway.database.postgresql_loop import (
    LoopSessions,
    LoopTransaction,
    LoopWriteTransaction,
)
from ehr_gateway.database.postgresql_rows import Result
from ehr_gateway.database.postgresql_statements import (
    BINARY,
    PooledConnection,
    PreparedStatements,
    Statement,
    StatementCall,
    error_of,
    send_call,
    translate,
)
from ehr_gateway.deadline import wait_seconds
from ehr_gateway.incidents import WRITES_REFUSED, Incidents

__all__ = ["PostgresqlDatabase"]

# Arbitrary; every process of the platform must use the same key.
_WRITER_LOCK_KEY = 0x65485221
# Chosen: far below a server's default of 100 connections, which several workers share.
_MAX_READERS = 16
# The writer's connection is one of the pool's, which it keeps.
_MAX_CONNECTIONS = _MAX_READERS + 1
# How long a request waits for a connection, and what has no deadline, such as a start on a busy
# machine. They are made in milliseconds, or not at all.
_POOL_SECONDS, _POOL_SECONDS_OTHERWISE = 0.8, 5.0
# The pool tries a failed connection once more after this time, and again when one is asked for; by
# its own default it would wait twice as long each time, up to five minutes.
_RECONNECT_SECONDS = 0.25
# How long a writer waits for the turn of another process: as on SQLite.
_TURN_SECONDS, _TURN_SECONDS_OTHERWISE = 5.0, 120.0
# What the server ends by itself, so that a process that froze or a host that is lost keeps neither
# the writer's turn nor a statement running. The first is the gateway's deadline of a request.
_STATEMENT_TIMEOUT, _IDLE_IN_TURN_TIMEOUT, _CLIENT_CHECK_INTERVAL = "60s", "15s", "2s"
_LOCK_ON_LOOP = (
    f"SELECT set_config('lock_timeout', '{_TURN_SECONDS * 1000:.0f}ms', true),"
    f" set_config('idle_in_transaction_session_timeout', '{_IDLE_IN_TURN_TIMEOUT}', true),"
    f" CAST(pg_advisory_xact_lock({_WRITER_LOCK_KEY}) AS text)"
)
# PostgreSQL's `client_connection_check_interval` came with this version.
_CLIENT_CHECK_VERSION = 140_000
# Rows that `executemany` sends before it reads a result. Chosen: their results, of some thirty
# bytes each, must fit into a socket's buffer, since nobody reads them meanwhile.
_PIPELINED_ROWS = 500


class PostgresqlConnection:
    """A connection that takes the store's SQL, for one thread; each statement waits for its end."""

    dialect: Dialect = "postgresql"

    def __init__(self, raw: PooledConnection, journal: RedoJournal | None = None) -> None:
        self.raw = raw
        self.journal = journal

    def execute(self, sql: str, parameters: Parameters = (), /) -> Result:
        """Run one statement."""
        statements, wire = self.raw.statements, self.raw.pgconn
        call = statements.call(translate(sql), parameters)
        if call.name is None:
            text = call.text.encode()
            result = wire.exec_params(text, call.values, call.types, call.formats, BINARY)
        else:
            if call.is_new:
                self._prepare(call)
            result = wire.exec_prepared(call.name, call.values, call.formats, BINARY)
        return statements.read(result)

    def executemany(self, sql: str, rows: Iterable[Parameters], /) -> object:
        """Run one statement for each row; many rows go to the server at once."""
        statement, remaining = translate(sql), iter(rows)
        while batch := list(islice(remaining, _PIPELINED_ROWS)):
            self._run_pipeline(statement, batch)
        return None

    def _run_pipeline(self, statement: Statement, rows: Sequence[Parameters]) -> None:
        statements, wire = self.raw.statements, self.raw.pgconn
        calls = [statements.call(statement, row) for row in rows]
        for call in calls:
            if call.is_new:
                self._prepare(call)
        wire.enter_pipeline_mode()
        try:
            for call in calls:
                send_call(wire, call)
            wire.pipeline_sync()
            error = _first_error(wire)
        finally:
            if wire.status == ConnStatus.OK:
                wire.exit_pipeline_mode()
        if error is not None:
            raise error

    def _prepare(self, call: StatementCall) -> None:
        """Prepare a statement at its second use."""
        wire, statements = self.raw.pgconn, self.raw.statements
        assert call.name is not None  # noqa: S101 - a new one has a name
        try:
            if call.dropped is not None:
                statements.read(wire.exec_(b"DEALLOCATE " + call.dropped))
            statements.read(wire.prepare(call.name, call.text.encode(), call.types))
        except BaseException:
            statements.forget(call)
            raise


class PostgresqlDatabase:
    """The database of a URL such as `postgresql://user@host/name`."""

    dialect: Dialect = "postgresql"

    def __init__(self, url: str) -> None:
        self._url = url
        self.journal: RedoJournal | None = None
        self.incidents = Incidents()
        # Said by `availability`, once and not for each connection.
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
        self._pool = ConnectionPool(
            self._connect_string(),
            min_size=1,
            max_size=_MAX_CONNECTIONS,
            connection_class=PooledConnection,
            kwargs={"autocommit": True},
            configure=_configure,
            reconnect_timeout=_RECONNECT_SECONDS,
            open=True,
        )
        self._availability = Availability(self._connect_string(), self.incidents)
        self._availability.start(on_return=self._pool.drain)
        self._loop_sessions = LoopSessions(
            self._take_connection, self._pool.putconn, self._availability, self.translate_error
        )
        self._writer: PooledConnection | None = None
        self._group = GroupCommit(self._begin_group, self._end_group)

    def read_transaction(
        self, *, single_statement: bool = False
    ) -> AbstractContextManager[Connection]:
        """Lend a connection inside one read transaction, or without one for a single statement.

        Cooperative code gets one that the event loop watches.
        """
        if is_cooperative():
            return LoopTransaction(self._loop_sessions, single_statement=single_statement)
        return self._read_on_thread(single_statement=single_statement)

    @contextmanager
    def _read_on_thread(self, *, single_statement: bool) -> Iterator[PostgresqlConnection]:
        with self._translate_errors(), self._lent_reader() as raw:
            if single_statement:
                # One round trip to the server in place of three.
                yield PostgresqlConnection(raw)
                return
            _run_command(raw, b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield PostgresqlConnection(raw)
            finally:
                if not raw.closed:
                    _run_command(raw, b"ROLLBACK")

    @contextmanager
    def write_transaction(self) -> Iterator[PostgresqlConnection]:
        """Lend the writer's connection inside one transaction."""
        if is_cooperative():
            raise RuntimeError("On the event loop, writes go through `write_on_loop`.")
        self._availability.check()
        with self._translate_errors(), self._group.write_transaction() as connection:
            yield connection

    def write_on_loop(self) -> LoopWriteTransaction:
        """Lend a connection inside one write transaction to cooperative code."""
        return LoopWriteTransaction(
            self._loop_sessions,
            lock=_LOCK_ON_LOOP,
            journal=self.journal,
            on_commit=self._note_commit,
        )

    def close(self) -> None:
        """Close every connection that is not lent."""
        self._availability.close()
        self._loop_sessions.close()
        self._pool.close()
        if self._writer is not None:
            self._writer.close()

    @contextmanager
    def _lent_reader(self) -> Iterator[PooledConnection]:
        raw = self._take_connection()
        self._availability.lend(raw, wait_seconds(math.inf, otherwise=LENT_SECONDS_OTHERWISE))
        try:
            yield raw
        finally:
            if not self._availability.take_back(raw):
                raw.close()
            self._pool.putconn(raw)

    def _take_connection(self) -> PooledConnection:
        """Take a living connection out of the pool; after a restart it may hold dead ones."""
        self._availability.check()
        until = time.monotonic() + wait_seconds(_POOL_SECONDS, otherwise=_POOL_SECONDS_OTHERWISE)
        while True:
            raw = self._pool.getconn(max(0.0, until - time.monotonic()))
            if not _is_dead(raw):
                return raw
            raw.close()
            self._pool.putconn(raw)
            self._availability.doubt()
            self._availability.check()

    def _begin_group(self) -> PostgresqlConnection:
        raw = self._live_writer()
        self._availability.lend(raw, LENT_SECONDS_OTHERWISE)
        seconds = wait_seconds(_TURN_SECONDS, otherwise=_TURN_SECONDS_OTHERWISE)
        try:
            # Released by the server at the end of the transaction, even if this process dies.
            raw.execute(
                f"BEGIN; SELECT set_config('lock_timeout', '{seconds * 1000:.0f}ms', true),"
                f" pg_advisory_xact_lock({_WRITER_LOCK_KEY})"
            )
        except BaseException:
            self._end_turn(raw, commit=False)
            raise
        return PostgresqlConnection(raw, self.journal)

    def _end_group(self, connection: PostgresqlConnection, commit: bool) -> None:
        self._end_turn(connection.raw, commit=commit)
        if commit:
            self._note_commit()

    def _note_commit(self) -> None:
        self.incidents.end(WRITES_REFUSED)

    def _end_turn(self, raw: PooledConnection, *, commit: bool) -> None:
        try:
            _end_transaction(raw, commit=commit)
        finally:
            self._availability.take_back(raw)

    def _live_writer(self) -> PooledConnection:
        """Return the writer's connection if it is usable, else another one of the pool.

        It is not when the server went away, or when it was left inside a transaction.
        """
        raw = self._writer
        if raw is not None:
            if raw.info.transaction_status == TransactionStatus.IDLE and not _is_dead(raw):
                return raw
            self._writer = None
            raw.close()
            self._pool.putconn(raw)
        raw = self._take_connection()
        raw.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_IN_TURN_TIMEOUT}'")
        self._writer = raw
        return raw

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            translated = self.translate_error(error)
            if translated is error:
                raise
            raise translated from error

    def translate_error(self, error: Exception) -> Exception:
        """Return an error of the driver as one of the product's; any other error as it is."""
        match error:
            case psycopg.errors.DiskFull():
                text = "The disk of the database server is full: this write was not made."
                return self._report_refused_write(text)
            case psycopg.errors.ReadOnlySqlTransaction():
                text = "The database server takes no writes: it is read-only, or a standby."
                return self._report_refused_write(text)
            case psycopg.errors.LockNotAvailable():
                return Unavailable(NO_TURN)
            case psycopg.errors.IdleInTransactionSessionTimeout():
                text = "The database took the writer's turn back from a process that stood still."
                return Unavailable(f"{text} Nothing is written.")
            case psycopg.errors.QueryCanceled():
                return Unavailable("The request could not be answered in time. Try again.")
            case psycopg.OperationalError() | PoolTimeout():
                self._availability.doubt()
                return Unavailable(AWAY)
        return error

    def _report_refused_write(self, text: str) -> Unavailable:
        """Report the incident to operators; return the error for the client."""
        self.incidents.begin(WRITES_REFUSED, text)
        return Unavailable(text)

    def _connect_string(self) -> str:
        return psycopg.conninfo.make_conninfo(self._url, application_name="ehr-commons")


def _configure(raw: PooledConnection) -> None:
    raw.cursor_factory = psycopg.RawCursor
    # One type for all integers: psycopg would send small and large ones as different types, and
    # each combination of types is a prepared statement of its own.
    raw.adapters.register_dumper(int, Int8Dumper)
    raw.statements = PreparedStatements(raw)
    # psycopg's own would deallocate ours: it deallocates all after a rollback.
    raw.prepare_threshold = None
    settings = {
        # Compiling to machine code pays off for long reports, not for a page of twenty.
        "jit": "off",
        # Pages that are read often are in memory. With the default, the price of a random page on
        # disk, the planner would scan small tables whole, for each record that the consent
        # condition tests.
        "random_page_cost": "1.1",
        # `search/plan.py` has chosen where a search begins; planning each execution anew would cost
        # more than the search itself.
        "plan_cache_mode": "force_generic_plan",
        "statement_timeout": _STATEMENT_TIMEOUT,
    }
    if raw.info.server_version >= _CLIENT_CHECK_VERSION:
        settings["client_connection_check_interval"] = _CLIENT_CHECK_INTERVAL
    calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
    raw.execute(f"SELECT {calls}")


def _is_dead(raw: psycopg.Connection[Any]) -> bool:
    """Return whether the server closed a connection that nobody uses.

    By a look at its socket, which costs no round trip: an idle one has nothing to read but the
    server's farewell. (A notice of changed settings would be taken for one, and costs a new
    connection.)
    """
    if raw.closed:
        return True
    readable = select.poll()
    readable.register(raw.fileno(), select.POLLIN)
    return bool(readable.poll(0))


def _first_error(wire: pq.abc.PGconn) -> psycopg.Error | None:
    """Read the results of a pipeline until its end; return the first error among them."""
    error = None
    while True:
        result = wire.get_result()
        # None follows each statement's result.
        if result is None:
            if wire.status != ConnStatus.OK:
                return error or psycopg.OperationalError("the connection is lost")
        elif result.status == ExecStatus.PIPELINE_SYNC:
            return error
        elif result.status == ExecStatus.FATAL_ERROR and error is None:
            error = error_of(result)


def _run_command(raw: psycopg.Connection[Any], command: bytes) -> None:
    """Run a command without rows through libpq alone: each read transaction needs two of them."""
    result = raw.pgconn.exec_(command)
    if result.status != ExecStatus.COMMAND_OK:
        raise psycopg.OperationalError(result.get_error_message())


def _end_transaction(raw: PooledConnection, *, commit: bool) -> None:
    if commit and raw.closed:
        raise Unavailable("The database went away before the write was done. Nothing is written.")
    if commit:
        try:
            status = raw.execute("COMMIT").statusmessage
            if status != "COMMIT":
                # A statement had failed, and somebody went on all the same.
                raise Unavailable("The write failed. Nothing is written.")
        except psycopg.OperationalError as error:
            if not raw.closed:
                raise
            raise Unavailable(COMMIT_UNKNOWN) from error
    elif not raw.closed:
        # A server that went away has rolled the work back itself.
        with suppress(psycopg.Error):
            raw.execute("ROLLBACK")
