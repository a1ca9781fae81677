"""DuckDB in memory: without any way out of the process, and queries within limits.

The connection reads no file, loads no extension and sees no Python variable; its settings are
locked before the first query. Nothing of views is imported here: the process of a query starts with
it alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from ehr_etl.view_faults import REPEAT_TOO_DEEP, find_fault, to_author_error
from ehr_fhir.errors import EhrError, Fault, TooCostly, Unprocessable

__all__ = ["QueryLimits", "RepeatTooDeep", "create_table", "fetch", "open_duckdb"]


@dataclass(frozen=True)
class QueryLimits:
    """What one query may use; `rows` is the most it may answer, None for all."""

    memory_mb: int = 1024
    threads: int = 2
    seconds: float | None = None
    rows: int | None = None


@contextmanager
def open_duckdb(limits: QueryLimits) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in memory that can reach nothing but what is registered on it."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{limits.memory_mb}MB",
            "threads": str(limits.threads),
            # What does not fit into memory is refused, not written to a file.
            "temp_directory": "",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            # Without these a name in FROM could be a variable of this program.
            "python_enable_replacements": "false",
            "python_scan_all_frames": "false",
        },
    )
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def fetch(
    connection: duckdb.DuckDBPyConnection, sql: str, limits: QueryLimits, parameters: Any = None
) -> pa.Table:  # Any: DuckDB takes a list or a mapping of values of any type
    """Run a query within its limits; return its rows, or an error without any value of a row."""
    with _within_time(connection, limits):
        result = connection.sql(sql, params=parameters).to_arrow_reader(10_000)
        return _read_rows(result, limits.rows)


def create_table(
    connection: duckdb.DuckDBPyConnection, name: str, sql: str, limits: QueryLimits
) -> None:
    """Create a table of a query's rows within its limits; an error has no value of a row."""
    with _within_time(connection, limits):
        connection.execute(f'CREATE TABLE "{name}" AS {sql}')


@contextmanager
def _within_time(connection: duckdb.DuckDBPyConnection, limits: QueryLimits) -> Iterator[None]:
    """Interrupt what runs when its time is over, and translate the errors of the engine."""
    overdue = threading.Event()

    def interrupt() -> None:
        overdue.set()
        connection.interrupt()

    timer = threading.Timer(limits.seconds, interrupt) if limits.seconds else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield
    except duckdb.Error as error:
        if overdue.is_set():
            raise TooCostly(f"The query took longer than {limits.seconds:g} s.") from None
        raise _translate(error) from None
    finally:
        if timer is not None:
            timer.cancel()


class RepeatTooDeep(Unprocessable):
    """A resource is nested deeper than a shallow compilation goes."""


def _read_rows(reader: Any, most: int | None) -> pa.Table:  # Any: pyarrow ships no types
    """Read batches until there are more rows than allowed, so that no more are ever held."""
    batches, count = [], 0
    for batch in reader:
        batches.append(batch)
        count += batch.num_rows
        if most is not None and count > most:
            raise TooCostly(f"The query has more than {most:,} rows: ask for fewer.")
    return pa.Table.from_batches(batches, reader.schema)


def _translate(error: duckdb.Error) -> EhrError:
    """Return the error to show; DuckDB's own text may quote values of rows."""
    text = str(error)
    fault = to_author_error(text)
    if fault is not None:
        return RepeatTooDeep(str(fault)) if find_fault(text) == REPEAT_TOO_DEEP else fault
    # The allocator's own failure comes under other classes.
    if isinstance(error, duckdb.OutOfMemoryException) or "bad_alloc" in text:
        return TooCostly("The query needs more memory than it may have: ask for less at a time.")
    if isinstance(error, duckdb.DataError):
        return Unprocessable("A value cannot be converted to the type that the query asks for.")
    if isinstance(error, duckdb.ProgrammingError | duckdb.NotSupportedError):
        return Unprocessable(f"DuckDB does not understand the query ({type(error).__name__}).")
    return Fault(f"DuckDB failed ({type(error).__name__}).")
