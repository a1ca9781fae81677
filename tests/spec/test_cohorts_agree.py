"""Cohorts: DuckDB, Spark and the reference in plain Python give the same rows."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehr_analytics.cohorts.compiler import compile_cohort
from ehr_analytics.cohorts.definition import Cohort
from ehr_analytics.cohorts.dialects import DUCKDB, SPARK
from ehr_analytics.cohorts.duckdb_engine import run_on_duckdb
from ehr_analytics.cohorts.reference import evaluate_cohort
from ehr_analytics.cohorts.sources import ValueType
from tests.lib.cohorts import SOURCES, cohorts, tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

KEY = "k"
ARROW = {
    ValueType.BOOLEAN: pa.bool_(),
    ValueType.CONCEPT: pa.int64(),
    ValueType.DATE: pa.date32(),
    ValueType.INTEGER: pa.int32(),
    ValueType.NUMBER: pa.float64(),
}
Rows = dict[str, list[dict[str, Any]]]


def arrow_tables(rows: Rows) -> dict[str, pa.Table]:
    return {
        name: pa.Table.from_pylist(
            rows[name],
            pa.schema([(c, arrow_type(c, t)) for c, t in source.columns.items()]),
        )
        for name, source in SOURCES.items()
    }


def arrow_type(column: str, value: ValueType) -> pa.DataType:
    # The CDM has days, and instants; a cohort reads both as days.
    return pa.timestamp("us") if column == "until" else ARROW.get(value, pa.string())


def expected(cohort: Cohort, rows: Rows) -> list[dict[str, Any]]:
    """Return the reference's rows; of people who left, only where they left."""
    found = evaluate_cohort(cohort, SOURCES, rows)
    for row in found:
        row["person"] = hashlib.sha256((KEY + row["person"]).encode()).hexdigest()
    return normal(found)


def normal(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(
        (
            row if row["left_at"] == 0 else {"person": row["person"], "left_at": row["left_at"]}
            for row in rows
        ),
        key=lambda row: (str(row["person"]), str(row.get("index_date")), row["left_at"]),
    )


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.one_of(cohorts(), cohorts(point_in_time=True)), tables())
def test_duckdb_gives_what_the_reference_gives(cohort: Cohort, rows: Rows) -> None:
    arrow = arrow_tables(rows)

    found = run_on_duckdb(compile_cohort(cohort, SOURCES, DUCKDB), arrow.__getitem__, KEY)

    assert normal(found.to_pylist()) == expected(cohort, rows)


@pytest.mark.spark
def test_spark_gives_what_the_reference_gives(spark: SparkSession) -> None:
    # A query of so many parts takes Spark seconds to plan, however few the rows.
    _compare_on_spark(spark, examples=3)


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_spark_gives_what_the_reference_gives_of_many(spark: SparkSession) -> None:
    _compare_on_spark(spark, examples=60)


def _compare_on_spark(spark: SparkSession, examples: int) -> None:
    from ehr_analytics.cohorts.spark_engine import run_on_spark

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(st.one_of(cohorts(), cohorts(point_in_time=True)), tables())
    def check(cohort: Cohort, rows: Rows) -> None:
        arrow = arrow_tables(rows)
        found = run_on_spark(
            spark,
            compile_cohort(cohort, SOURCES, SPARK),
            lambda session, name: session.createDataFrame(arrow[name]),
            KEY,
        )
        assert normal(found.to_pylist()) == expected(cohort, rows)

    check()
