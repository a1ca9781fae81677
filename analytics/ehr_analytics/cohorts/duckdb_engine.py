"""Cohorts on DuckDB: the tables of the lake by delta-rs, no JVM and no Python in the row path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from ehr_analytics.cohorts.compiler import CompiledCohort
from ehr_etl.duckdb_session import QueryLimits, create_table, fetch, open_duckdb

__all__ = ["COHORT_LIMITS", "run_on_duckdb"]

# Chosen: a million people with ten million events take 2 GB (tests/perf/bench_cohort.py).
COHORT_LIMITS = QueryLimits(memory_mb=6144, threads=2, seconds=600)

_REKEY = "sha256($key || CAST(person AS VARCHAR))"


def run_on_duckdb(
    compiled: CompiledCohort,
    open_source: Callable[[str], Any],  # Any: an Arrow table or a stream of batches
    key: str,
    limits: QueryLimits = COHORT_LIMITS,
) -> pa.Table:
    """Return the rows of a compiled cohort, persons under the key of the project.

    `open_source` gives the rows of a table by its name, anew at each call.
    """
    with open_duckdb(limits) as connection:
        for step in compiled.steps:
            if step.source is not None:
                connection.register(f"source_{step.name}", open_source(step.source))
            create_table(connection, step.name, step.sql, limits)
            if step.source is not None:
                connection.unregister(f"source_{step.name}")
        # The key is a parameter: it stands in no text.
        sql = f"SELECT * REPLACE ({_REKEY} AS person) FROM ({compiled.sql})"  # noqa: S608
        return fetch(connection, sql, limits, {"key": key})
