"""SQL over a project's approved columns, without Spark: for projects that may read rows.

What leaves here are rows of people, de-identified and under the project's own pseudonyms. So it is
for projects alone whose approvers granted the data item `rows.read`; all others run studies, whose
counts leave through the airlock. Every query is in the register's log, its text as a digest.

A query sees tables in memory that hold the approved columns, and nothing else: DuckDB opens no
file, loads no extension and keeps no setting that a query could change. It runs in a process of its
own, within limits that the operating system keeps.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ehr_analytics import project as projects
from ehr_analytics import sql_guard
from ehr_analytics.gold_views import GoldView, open_gold_views
from ehr_analytics.project_jobs import build_job, build_view_query
from ehr_analytics.query_job import OWN_VIEW_QUERY, OwnView
from ehr_analytics.query_process import QueryAnswer, run_in_process
from ehr_analytics.register import Register
from ehr_analytics.row_access import require_own_views, require_row_project
from ehr_analytics.table_formats import require_format
from ehr_analytics.withheld import ChangedSubjects, find_withheld
from ehr_etl.duckdb_session import QueryLimits
from ehr_fhir.errors import EhrError, NotFound, Unavailable, Unprocessable

# Chosen: a page of a table, a coffee's wait, and a share of a small machine.
LIMITS = QueryLimits(memory_mb=512, threads=2, seconds=30, rows=100_000)
_PARAMETER = re.compile(r"'[^']*'|(?<![:\w]):([A-Za-z_]\w*)")
# Chosen: each may use the memory of LIMITS and a gigabyte beside.
_MOST_AT_ONCE = 2
_running = threading.BoundedSemaphore(_MOST_AT_ONCE)

Parameters = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class RowQueries:
    """Queries of the projects of a register, within limits; some people's rows are withheld."""

    register: Register
    changed: ChangedSubjects
    limits: QueryLimits = LIMITS

    def run_view(
        self, login: str, project_id: str, view: str, *, media: str, most: int | None = None
    ) -> QueryAnswer:
        """Return the approved columns of one view of a project; at most so many rows."""
        project = require_row_project(self.register, login, project_id)
        columns = project.row_columns_by_view().get(view)
        if columns is None:
            raise NotFound(f"{view} is not a view of the project {project_id}.")
        return self._query(login, project, build_view_query(view, columns), {}, media, most)

    def run_own_view(
        self,
        login: str,
        project_id: str,
        definition: Mapping[str, object],
        *,
        media: str,
        most: int | None = None,
    ) -> QueryAnswer:
        """Return the rows of a ViewDefinition of a person's own over deid; at most so many."""
        project = require_row_project(self.register, login, project_id)
        require_own_views(project)
        text = json.dumps(definition, sort_keys=True, default=str)
        own_view = OwnView(definition, most)
        return self._run(login, project, text, {}, OWN_VIEW_QUERY, media, own_view=own_view)

    def run_sql(
        self,
        login: str,
        project_id: str,
        sql: str,
        parameters: Parameters | None = None,
        *,
        media: str,
        most: int | None = None,
    ) -> QueryAnswer:
        """Return the rows of one SELECT over the views of a project; `:name` is a parameter."""
        project = require_row_project(self.register, login, project_id)
        values = dict(parameters or {})
        bound, plain = _bind(sql, values)
        # The guard knows no parameters: each is a number to it.
        sql_guard.check_sql_text(plain, project.row_columns_by_view())
        return self._query(login, project, bound, values, media, most)

    def _query(
        self,
        login: str,
        project: projects.Project,
        sql: str,
        parameters: Parameters,
        media: str,
        most: int | None,
    ) -> QueryAnswer:
        columns = project.row_columns_by_view()
        if most is not None:
            sql = f"SELECT * FROM ({sql}\n) LIMIT {int(most)}"  # noqa: S608 - checked before
        return self._run(login, project, sql, columns, sql, media, parameters=parameters)

    def _run(
        self,
        login: str,
        project: projects.Project,
        text: str,
        columns: Mapping[str, Sequence[str]],
        sql: str,
        media: str,
        *,
        parameters: Parameters | None = None,
        own_view: OwnView | None = None,
    ) -> QueryAnswer:
        """Run a query in a process of its own; the log has a digest of its text."""
        require_format(media)
        # Not waited for: the threads that would wait are those that answer everybody.
        if not _running.acquire(blocking=False):
            raise Unavailable(f"{_MOST_AT_ONCE} queries are running: try again in a moment.")
        views: list[GoldView] = []
        try:
            # As late as possible: the decisions of this moment.
            withheld = find_withheld(self.register.data, self.changed)
            views = open_gold_views(self.register.data, columns)
            job = build_job(
                self.register,
                project,
                views,
                withheld=withheld,
                sql=sql,
                media=media,
                limits=self.limits,
            )
            answer = run_in_process(replace(job, parameters=parameters or {}, own_view=own_view))
        except EhrError as error:
            # What somebody tried is on record too.
            self._log(project, login, text, views, {"refused": type(error).__name__})
            raise
        finally:
            _running.release()
        self._log(project, login, text, views, {"rows": answer.rows})
        return answer

    def _log(
        self,
        project: projects.Project,
        login: str,
        text: str,
        views: Iterable[GoldView],
        outcome: Mapping[str, object],
    ) -> None:
        with self.register.transaction() as log:
            detail = {
                "sql": hashlib.sha256(text.encode()).hexdigest(),
                "tables": {view.name: view.version for view in views},
                **outcome,
            }
            self.register.append_event(log, project.id, login, "query", detail=detail)


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
