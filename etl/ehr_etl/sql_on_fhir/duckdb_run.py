"""Views run on DuckDB over Arrow data, without a JVM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import duckdb
import pyarrow as pa

from ehr_etl.duckdb_session import QueryLimits, RepeatTooDeep, fetch, open_duckdb
from ehr_etl.sql_on_fhir.compiler import CompiledView, compile_parts
from ehr_etl.sql_on_fhir.definition import ViewDefinition
from ehr_etl.sql_on_fhir.duckdb_dialect import DuckDbDialect
from ehr_fhir.errors import Fault, TooCostly

SOURCE = "records"


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
    most: int | None = None,
) -> pa.Table:
    """Return the table of a view, on a connection, or its first rows.

    `open_records` is called for each type that the view reads, and maybe once more.
    """
    for shallow in (True, False):
        parts = compile_parts(view, shallow=shallow)
        try:
            # One after the other: a stream of records is read once.
            tables = [
                _run_part(connection, part, open_records(), limits, carried, most) for part in parts
            ]
        except RepeatTooDeep:
            if not shallow:
                raise
        else:
            rows = pa.concat_tables(tables)
            if limits.rows is not None and rows.num_rows > limits.rows:
                raise TooCostly(f"The view has more than {limits.rows:,} rows: ask for less.")
            return rows if most is None else rows.slice(0, most)
    raise Fault("A view was compiled neither shallow nor deep.")


def _run_part(
    connection: duckdb.DuckDBPyConnection,
    part: CompiledView,
    records: Any,
    limits: QueryLimits,
    carried: Mapping[str, str],
    most: int | None,
) -> pa.Table:
    sql = part.sql(SOURCE, carried, DuckDbDialect())
    if most is not None:
        sql = f"SELECT * FROM ({sql}\n) LIMIT {int(most)}"  # noqa: S608 - a compiled view's
    connection.register(SOURCE, records)
    try:
        return fetch(connection, sql, limits)
    finally:
        connection.unregister(SOURCE)
