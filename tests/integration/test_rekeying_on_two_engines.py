"""Studies on Spark and row queries on DuckDB give one project the same pseudonyms."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from ehr_analytics.gold_views import open_gold_views
from ehr_analytics.query_job import QueryJob, SourceView, Withheld
from ehr_analytics.query_worker import run_job
from ehr_analytics.study_run import create_temporary_views
from ehr_etl.duckdb_session import QueryLimits
from ehr_etl.gold.delta_views import save_definition
from ehr_etl.lake import Lake
from tests.lib.research import DATES
from tests.unit.analytics.test_rekeying import DEFINITION, PSEUDONYM, TABLE


def test_a_key_is_the_same_pseudonym_on_both_engines(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "lake" / "gold").mkdir(parents=True)
    write_deltalake(
        str(tmp_path / "lake" / "gold" / "visits"),
        pa.table({**TABLE, "_patient": [PSEUDONYM, None]}),
    )
    save_definition(Lake(tmp_path / "lake"), DEFINITION)
    [view] = open_gold_views(tmp_path, {"visits": tuple(TABLE)})
    source = SourceView(view.name, str(view.path), 0, view.columns, tuple(view.rekeyed))
    sql, key = "SELECT * FROM visits", "a" * 64
    job = QueryJob((source,), "", Withheld(), key, DATES, sql, {}, "json", QueryLimits())

    session = spark.newSession()
    create_temporary_views(session, [view], key, DATES)
    rows = [row.asDict() for row in session.sql(sql).collect()]

    assert PSEUDONYM not in str(rows).lower()
    assert sorted(rows, key=str) == sorted(run_job(job)[0].to_pylist(), key=str)
