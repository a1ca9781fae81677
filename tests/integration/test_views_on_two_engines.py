"""Spark and DuckDB give the same rows: every path of the list, and the lake's own views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ehr_etl.gold.view_engines import create_spark_engine, run_records_on_duckdb
from ehr_etl.sql_on_fhir import parse_view
from tests.lib.view_paths import iterate_path_views, list_records

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("view", [view for _, view in iterate_path_views(16)])
def test_both_engines_give_the_same_rows(spark: SparkSession, view: dict[str, Any]) -> None:
    definition = parse_view(view)

    on_spark = create_spark_engine(spark)(definition, list_records())
    on_duckdb = run_records_on_duckdb(definition, list_records())

    assert on_spark == on_duckdb
