"""SQL over a project's approved columns, without Spark: for projects that may read rows.

What leaves here are rows of people, de-identified and under the project's own pseudonyms. So it is
for projects alone whose approvers granted the data item `rows.read`; all others run studies, whose
counts leave through the airlock. Every query is in the register's log, its text as a digest.

A query sees tables in memory that hold the approved columns, and nothing else: DuckDB opens no
file, loads no extension and keeps no setting that a query could change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import TableNotFoundError

from ehr_analytics import project as projects
from ehr_analytics import sql_guard
from ehr_analytics.register import Register
from ehr_analytics.rekeying import select_rekeyed_columns
from ehr_etl.sql_on_fhir.duckdb_run import QueryLimits, fetch, open_duckdb
from ehr_fhir.errors import Forbidden, NotFound, Unavailable, Unprocessable

# Chosen: a page of a table, a coffee's wait, and a share of a small machine.
LIMITS = QueryLimits(memory_mb=512, threads=2, seconds=30, rows=100_000)
_PARAMETER = re.compile(r"'[^']*'|(?<![:\w]):([A-Za-z_]\w*)")
_SOURCE = "source_rows"

Parameters = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class RowQueries:
    """Queries of the projects of a register, within limits."""

    register: Register
    limits: QueryLimits = LIMITS

    def run_view(self, login: str, project_id: str, view: str, most: int | None = None) -> pa.Table:
        """Return the approved columns of one view of a project; at most so many rows."""
        project = self._require_rows(login, project_id)
        columns = project.columns_by_view().get(view)
        if columns is None:
            raise NotFound(f"{view} is not a view of the project {project_id}.")
        names = ", ".join(f'"{column}"' for column in columns)
        sql = f'SELECT {names} FROM "{view}"'  # noqa: S608 - names by the register's pattern
        return self._query(login, project, sql, {}, most)

    def run_sql(
        self,
        login: str,
        project_id: str,
        sql: str,
        parameters: Parameters | None = None,
        most: int | None = None,
    ) -> pa.Table:
        """Return the rows of one SELECT over the views of a project; `:name` is a parameter."""
        project = self._require_rows(login, project_id)
        values = dict(parameters or {})
        bound, plain = _bind(sql, values)
        # The guard knows no parameters: each is a number to it.
        sql_guard.check_sql_text(plain, project.columns_by_view())
        return self._query(login, project, bound, values, most)

    def _require_rows(self, login: str, project_id: str) -> projects.Project:
        register = self.register
        try:
            project = projects.get_project(register, project_id)
        except NotFound:
            project = None
        # A project that is not yours and one that is not there are the same answer.
        if project is None or login not in project.people:
            raise NotFound(f"You have no project {project_id!r}.")
        projects.require_open_for(project, login, register.clock().date())
        if not project.may_read_rows:
            raise Forbidden(
                f"Project {project_id} may not read rows: run a study, or apply for the data item"
                f" {projects.READ_ROWS}."
            )
        return project

    def _query(
        self,
        login: str,
        project: projects.Project,
        sql: str,
        parameters: Parameters,
        most: int | None,
    ) -> pa.Table:
        register = self.register
        key = projects.project_key_path(register.data, project.id).read_text("ascii")
        with open_duckdb(self.limits) as connection:
            versions = {
                view: _load_view(connection, register.data / "lake" / "gold", view, columns, key)
                for view, columns in project.columns_by_view().items()
            }
            if most is not None:
                sql = f"SELECT * FROM ({sql}\n) LIMIT {int(most)}"  # noqa: S608 - checked before
            rows = fetch(connection, sql, self.limits, parameters or None)
        with register.transaction() as log:
            detail = {
                "sql": hashlib.sha256(sql.encode()).hexdigest(),
                "rows": rows.num_rows,
                "tables": versions,
            }
            register.append_event(log, project.id, login, "query", detail=detail)
        return rows


def _load_view(
    connection: duckdb.DuckDBPyConnection, gold: Path, view: str, columns: tuple[str, ...], key: str
) -> int:
    """Copy the approved columns of a view into memory, keys under the project's pseudonyms."""
    try:
        table = DeltaTable(str(gold / view))
    except TableNotFoundError as error:
        raise Unavailable(f"The lake has no view {view} yet: run `ehr lake run`.") from error
    known = {field.name for field in table.schema().fields}
    missing = sorted(set(columns) - known)
    if missing:
        raise Unprocessable(f"The view {view} has no column {', '.join(missing)}.")
    names = ", ".join(f'"{column}"' for column in columns)
    rows: Any = QueryBuilder().register("gold", table)  # Any: delta-rs ships no types
    connection.register(_SOURCE, rows.execute(f"SELECT {names} FROM gold"))  # noqa: S608
    rekeyed = select_rekeyed_columns(view, columns)
    # The key is a parameter: a view's text, which a query could read, would hold it.
    selected = ", ".join(
        f'sha256(concat($key, "{column}")) AS "{column}"' if column in rekeyed else f'"{column}"'
        for column in columns
    )
    sql = f'CREATE TABLE "{view}" AS SELECT {selected} FROM {_SOURCE}'  # noqa: S608
    connection.execute(sql, {"key": key} if rekeyed else None)
    connection.unregister(_SOURCE)
    return int(table.version())


def _bind(sql: str, values: Parameters) -> tuple[str, str]:
    """Return the SQL with DuckDB's parameters, and with a number in the place of each."""
    used: set[str] = set()

    def mark(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        if match[1] not in values:
            raise Unprocessable(f"The parameter :{match[1]} has no value.")
        used.add(match[1])
        return f"${match[1]}"

    bound = _PARAMETER.sub(mark, sql)
    plain = _PARAMETER.sub(lambda match: match[0] if match[1] is None else "1", sql)
    unused = sorted(values.keys() - used)
    if unused:
        raise Unprocessable(f"The query has no parameter :{', :'.join(unused)}.")
    return bound, plain
