"""Views run on DuckDB over Arrow data, without a JVM and without any way out of the process.

The connection reads no file, loads no extension and sees no Python variable; its settings are
locked before the first query.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import duckdb
import pyarrow as pa

from ehr_etl.sql_on_fhir.compiler import compile_view
from ehr_etl.sql_on_fhir.definition import ViewDefinition
from ehr_etl.sql_on_fhir.duckdb_dialect import DuckDbDialect
from ehr_etl.view_faults import REPEAT_TOO_DEEP, find_fault, to_author_error
from ehr_fhir.errors import EhrError, Fault, TooCostly, Unprocessable

SOURCE = "records"


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


def run_view(
    view: ViewDefinition,
    open_records: Callable[[], Any],  # Any: whatever gives Arrow; pyarrow ships no types
    limits: QueryLimits | None = None,
    carried: Mapping[str, str] = MappingProxyType({}),
) -> pa.Table:
    """Return the table of a view over records with the columns type and resource (JSON text)."""
    limits = limits or QueryLimits()
    with open_duckdb(limits) as connection:
        return run_view_on(connection, view, open_records, limits, carried)


def run_view_on(
    connection: duckdb.DuckDBPyConnection,
    view: ViewDefinition,
    open_records: Callable[[], Any],
    limits: QueryLimits,
    carried: Mapping[str, str] = MappingProxyType({}),
) -> pa.Table:
    """Return the table of a view, on a connection; `open_records` may be called twice."""
    for shallow in (True, False):
        compiled = compile_view(view, shallow=shallow)
        connection.register(SOURCE, open_records())
        try:
            return fetch(connection, compiled.sql(SOURCE, carried, DuckDbDialect()), limits)
        except _TooDeep:
            if not shallow:
                raise
        finally:
            connection.unregister(SOURCE)
    raise Fault("A view was compiled neither shallow nor deep.")


def fetch(
    connection: duckdb.DuckDBPyConnection, sql: str, limits: QueryLimits, parameters: Any = None
) -> pa.Table:  # Any: DuckDB takes a list or a mapping of values of any type
    """Run a query within its limits; return its rows, or an error without any value of a row."""
    overdue = threading.Event()

    def interrupt() -> None:
        overdue.set()
        connection.interrupt()

    timer = threading.Timer(limits.seconds, interrupt) if limits.seconds else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        result = connection.sql(sql, params=parameters).to_arrow_reader(10_000)
        return _read_rows(result, limits.rows)
    except duckdb.Error as error:
        if overdue.is_set():
            raise TooCostly(f"The query took longer than {limits.seconds:g} s.") from None
        raise _translate(error) from None
    finally:
        if timer is not None:
            timer.cancel()


class _TooDeep(Unprocessable):
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
        return _TooDeep(str(fault)) if find_fault(text) == REPEAT_TOO_DEEP else fault
    # The allocator's own failure comes under other classes.
    if isinstance(error, duckdb.OutOfMemoryException) or "bad_alloc" in text:
        return TooCostly("The query needs more memory than it may have: ask for less at a time.")
    if isinstance(error, duckdb.DataError):
        return Unprocessable("A value cannot be converted to the type that the query asks for.")
    if isinstance(error, duckdb.ProgrammingError | duckdb.NotSupportedError):
        return Unprocessable(f"DuckDB does not understand the query ({type(error).__name__}).")
    return Fault(f"DuckDB failed ({type(error).__name__}).")
