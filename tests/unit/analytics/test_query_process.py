"""Queries that want more than they may have, in a process that the operating system bounds."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from ehr_analytics.query_job import OWN_VIEW, OwnView, QueryJob, SourceView, Withheld
from ehr_analytics.query_process import run_in_process
from ehr_analytics.query_worker import run_job
from ehr_analytics.sql_guard import check_sql_text
from ehr_etl.duckdb_session import QueryLimits
from ehr_fhir.errors import EhrError, Invalid, TooCostly, Unprocessable
from tests.lib.research import DATES

LIMITS = QueryLimits(memory_mb=64, threads=2, seconds=2, rows=1000)
SECRET = "A-number-of-somebody"


@pytest.fixture
def job(tmp_path: Path) -> QueryJob:
    """A query's job over one table of 2,000 rows."""
    table = pa.table({"name": [SECRET] * 2000, "year": ["x"] * 2000, "_patient": ["0"] * 2000})
    write_deltalake(str(tmp_path / "people"), table)
    view = SourceView("people", str(tmp_path / "people"), 0, ("name", "year"), ())
    people = "SELECT * FROM people LIMIT 2"
    return QueryJob((view,), "", Withheld(), "k" * 64, DATES, people, {}, "json", LIMITS)


def _tenfold(steps: int) -> str:
    """Return a query whose text grows tenfold at each step."""
    copies = ", ".join(["name"] * 10)
    sources = ["people", *(f"t{step}" for step in range(steps))]
    tables = (
        f"t{step} AS (SELECT concat({copies}) AS name FROM {sources[step]})"
        for step in range(steps)
    )
    return f"WITH {', '.join(tables)} SELECT max(length(name)) AS n FROM {sources[-1]}"


def test_a_query_is_answered_from_a_process_of_its_own(job: QueryJob) -> None:
    # A busy machine may take long to start it.
    answer = run_in_process(replace(job, limits=replace(LIMITS, seconds=600)))

    assert (answer.rows, answer.media_type) == (2, "application/json")
    assert answer.content.startswith(b'[{"name":')


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT length(lpad(name, 1000000, 'x')) FROM people",
        "SELECT lpad(name, 500000, 'x') AS a FROM people LIMIT 1000",
        _tenfold(6),
        "SELECT sum(length(a.name) * length(b.name) * length(c.name)) FROM people a"
        " JOIN people b ON 1 = 1 JOIN people c ON 1 = 1 JOIN people d ON 1 = 1",
    ],
)
def test_texts_that_grow_and_joins_that_multiply_end_in_time(job: QueryJob, sql: str) -> None:
    check_sql_text(sql, {"people"})
    started = processor_seconds()

    with pytest.raises(TooCostly):
        run_in_process(replace(job, sql=sql))
    # Without the process the first of these took 88 s.
    assert processor_seconds() - started < 30


def processor_seconds() -> float:
    """Return what ended children used of the processors, whatever else runs beside them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("(", ")"),
        ("(name.family | ", ")"),
        ("iif(active, ", ", 'x')"),
        ("name.where(", ").exists()"),
    ],
)
def test_a_path_that_is_nested_without_end_is_refused(
    job: QueryJob, opening: str, closing: str
) -> None:
    path = opening * 3000 + "'x'" + closing * 3000
    view = {
        "resourceType": "ViewDefinition", "name": "mine", "status": "active",
        "resource": "Patient", "select": [{"column": [{"name": "a", "path": path}]}],
    }  # fmt: skip
    sql = f"SELECT * FROM {OWN_VIEW}"

    with pytest.raises((TooCostly, Invalid, Unprocessable)):
        run_in_process(replace(job, views=(), sql=sql, own_view=OwnView(view)))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT cast(name AS int) FROM people",
        "SELECT cast(name AS date) FROM people",
        "SELECT to_date(name) FROM people",
        "SELECT date_trunc(name, date '2020-01-01') FROM people",
        "SELECT sum(name) FROM people",
        "SELECT round(length(name), 99999999999) FROM people",
        "SELECT name + 1 FROM people",
        "SELECT name FROM people WHERE name > date '2020-01-01'",
        "SELECT (SELECT name FROM people) AS a",
        "SELECT cast(concat('ehr:decimal-not-exact:', name) AS int) FROM people",
        "SELECT substring(name, name) FROM people",
    ],
)
def test_an_error_has_no_value_of_a_row_in_it(job: QueryJob, sql: str) -> None:
    with pytest.raises(EhrError) as refused:
        check_sql_text(sql, {"people"})
        run_job(replace(job, sql=sql, limits=QueryLimits()))

    assert isinstance(refused.value, Unprocessable)
    assert SECRET not in str(refused.value)
    assert SECRET.split("-", maxsplit=1)[0] + "-" not in str(refused.value)


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT n FROM t",
        "SELECT * FROM range(10)",
        "SELECT * FROM generate_series(1, 10)",
        "SELECT unnest(range(10))",
        "SELECT * FROM people, people AS b",
        "SELECT * FROM people JOIN '/etc/hostname' ON 1 = 1",
        'SELECT * FROM people JOIN "/etc/hostname" ON 1 = 1',
        "SELECT * FROM people -- \r' \n JOIN read_text('/etc/hostname') ON 1 = 1 --\r'",
        "SELECT * FROM people /* ' */ JOIN silver ON 1 = 1",
        "SELECT * FROM people\u00a0JOIN\u00a0silver ON 1 = 1",
        "SELECT * FROM query_table('silver')",
        "SELECT * FROM pg_catalog.pg_class",
        "SELECT * FROM sqlite_master",
        "SELECT * FROM duckdb_tables",
        "SELECT current_setting('memory_limit')",
        "SELECT getvariable('key')",
        "SELECT $key",
        "SELECT $$a$$",
        "SELECT E'\\x41'",
        "SELECT columns('.*') FROM people",
        "SELECT name.read_text() FROM people",
        "SELECT sha256(name) FROM people",
        "FROM people",
        "DESCRIBE people",
        "SUMMARIZE people",
        "EXPLAIN SELECT 1",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA version",
        "SET threads = 100",
        "COPY people TO '/tmp/x.csv'",
        "ATTACH '/tmp/x.db'",
        "EXPORT DATABASE '/tmp/x'",
        "CALL pragma_version()",
        "CREATE TABLE x AS SELECT 1",
        "SELECT 1; DROP TABLE people",
        "SELECT name FROM people UNION SELECT k FROM _source_rows",
        "PIVOT people ON name",
        "SELECT * FROM (VALUES (1)) AS t(a)",
        "SELECT name FROM people TABLESAMPLE 10",
        "TABLE people",
        "SELECT * FROM people AS OF VERSION 0",
        "SELECT * FROM main.people",
    ],
)
def test_what_is_no_select_of_the_views_of_a_project_is_refused(job: QueryJob, sql: str) -> None:
    with pytest.raises(Unprocessable):
        check_sql_text(sql, {"people"})
        run_job(replace(job, sql=sql))
