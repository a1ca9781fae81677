"""Cohorts on DuckDB: the tables of the lake by delta-rs, no JVM and no Python in the row path."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from ehr_analytics.cohorts.compiler import CompiledCohort
from ehr_etl.duckdb_session import QueryLimits, create_table, fetch, open_duckdb
from ehr_fhir.errors import TooCostly

__all__ = ["COHORT_LIMITS", "ShowDates", "create_steps", "run_on_duckdb"]

# Chosen: a million people with ten million events take 2 GB (tests/perf/bench_cohort.py).
COHORT_LIMITS = QueryLimits(memory_mb=6144, threads=2, seconds=600)

_REKEY = "sha256($key || CAST(person AS VARCHAR))"


class ShowDates(Protocol):
    """How a project reads the dates of tables."""

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Put what the SQL needs into a connection."""

    def render_table(self, table: str, rows: str, kinds: Mapping[str, str]) -> str:
        """Return the SQL of a table with its dates in the form; `kinds` are types by column."""


def run_on_duckdb(
    compiled: CompiledCohort,
    open_source: Callable[[str], Any],  # Any: an Arrow table or a stream of batches
    key: str,
    limits: QueryLimits = COHORT_LIMITS,
    show_dates: ShowDates | None = None,
) -> pa.Table:
    """Return the rows of a compiled cohort, persons under the key of the project.

    `open_source` gives the rows of a table by its name, anew at each call, and `show_dates` the SQL
    by which their dates are read in the form of the project. The limit of time is of all steps
    together.
    """
    deadline = time.monotonic() + (limits.seconds or math.inf)
    with open_duckdb(limits) as connection:
        create_steps(connection, compiled, open_source, limits, show_dates)
        # The key is a parameter: it stands in no text.
        sql = f"SELECT * REPLACE ({_REKEY} AS person) FROM ({compiled.sql})"  # noqa: S608
        return fetch(connection, sql, _limit_time(limits, deadline), {"key": key})


def create_steps(
    connection: duckdb.DuckDBPyConnection,
    compiled: CompiledCohort,
    open_source: Callable[[str], Any],  # Any: as of run_on_duckdb
    limits: QueryLimits = COHORT_LIMITS,
    show_dates: ShowDates | None = None,
) -> None:
    """Create the table of each step; `compiled.sql` then gives the rows, persons as they are."""
    deadline = time.monotonic() + (limits.seconds or math.inf)
    if show_dates is not None:
        show_dates.prepare(connection)
    for step in compiled.steps:
        if step.source is not None:
            _open_source(connection, step.name, step.source, open_source, show_dates)
        create_table(connection, step.name, step.sql, _limit_time(limits, deadline))
        if step.source is not None:
            connection.unregister(f"rows_{step.name}")


def _limit_time(limits: QueryLimits, deadline: float) -> QueryLimits:
    """Return the limits with the time that is left; TooCostly where none is."""
    if limits.seconds is None:
        return limits
    left = deadline - time.monotonic()
    if left <= 0:
        raise TooCostly(f"The cohort takes longer than {limits.seconds:g} s.")
    return replace(limits, seconds=math.ceil(left))


def _open_source(
    connection: duckdb.DuckDBPyConnection,
    step: str,
    table: str,
    open_source: Callable[[str], Any],
    show_dates: ShowDates | None,
) -> None:
    rows = f"rows_{step}"
    connection.register(rows, open_source(table))
    sql = f"FROM {rows}"
    if show_dates is not None:
        kinds = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {rows}").fetchall()}
        sql = show_dates.render_table(table, rows, kinds)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW source_{step} AS {sql}")
