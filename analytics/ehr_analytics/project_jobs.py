"""Jobs of queries under a project: its tables, its key, and whose rows are withheld."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ehr_analytics.gold_views import GoldView
from ehr_analytics.project import Project, read_project_key
from ehr_analytics.project_dates import open_project_dates
from ehr_analytics.query_job import QueryJob, Withheld
from ehr_analytics.register import Register
from ehr_etl.duckdb_session import QueryLimits
from ehr_etl.lake import Lake
from ehr_etl.omop.state import find_vocabulary
from ehr_privacy.deid import load_rules

__all__ = ["build_job", "build_view_query"]


def build_job(
    register: Register,
    project: Project,
    views: Iterable[GoldView],
    *,
    withheld: Withheld,
    sql: str,
    media: str,
    limits: QueryLimits,
) -> QueryJob:
    """Return the job of a query over views of a project, without the rows that are withheld."""
    key, lake = read_project_key(register.data, project.id), Lake(register.data / "lake")
    vocabulary = find_vocabulary(lake)
    return QueryJob(
        views=tuple(view.to_source() for view in views),
        deid=lake.table_url("deid"),
        withheld=withheld,
        key=key,
        dates=open_project_dates(register.data, project.dates, key),
        sql=sql,
        parameters={},
        media=media,
        limits=limits,
        rare_code_persons=max(load_rules().rare_code_persons, project.rare_code_persons),
        vocabulary="" if vocabulary is None else str(vocabulary),
    )


def build_view_query(view: str, columns: Sequence[str]) -> str:
    """Return the SQL of the approved columns of a view.

    >>> build_view_query("encounter_flat", ("id", "class"))
    'SELECT "id", "class" FROM "encounter_flat"'
    """
    names = ", ".join(f'"{column}"' for column in columns)
    return f'SELECT {names} FROM "{view}"'  # noqa: S608 - names by the register's pattern
