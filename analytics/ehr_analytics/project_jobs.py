"""Jobs of queries under a project: its tables, its key, and whose rows are withheld."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ehr_analytics.gold_views import GoldView
from ehr_analytics.project import Project, read_project_key
from ehr_analytics.query_job import QueryJob
from ehr_analytics.register import Register
from ehr_analytics.withheld import ChangedSubjects, find_withheld
from ehr_etl.duckdb_session import QueryLimits
from ehr_etl.lake import Lake

__all__ = ["build_view_query", "prepare_job"]


def prepare_job(
    register: Register,
    project: Project,
    changed: ChangedSubjects,
    views: Iterable[GoldView],
    *,
    sql: str,
    media: str,
    limits: QueryLimits,
) -> QueryJob:
    """Return the job of a query that begins now: without the rows that are withheld by now."""
    data = register.data
    return QueryJob(
        views=tuple(view.to_source() for view in views),
        deid=Lake(data / "lake").table_url("deid"),
        withheld=find_withheld(data, changed),
        key=read_project_key(data, project.id),
        sql=sql,
        parameters={},
        media=media,
        limits=limits,
    )


def build_view_query(view: str, columns: Sequence[str]) -> str:
    """Return the SQL of the approved columns of a view.

    >>> build_view_query("encounter_flat", ("id", "class"))
    'SELECT "id", "class" FROM "encounter_flat"'
    """
    names = ", ".join(f'"{column}"' for column in columns)
    return f'SELECT {names} FROM "{view}"'  # noqa: S608 - names by the register's pattern
