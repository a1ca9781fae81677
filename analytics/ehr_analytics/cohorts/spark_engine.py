"""Cohorts on Spark: the same steps as common table expressions, in a session of its own."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ehr_analytics.cohorts.compiler import CompiledCohort
from ehr_etl.spark.java_errors import translate_java_errors

__all__ = ["run_on_spark"]


def run_on_spark(
    session: SparkSession,
    compiled: CompiledCohort,
    open_source: Callable[[SparkSession, str], DataFrame],
    key: str,
) -> pa.Table:
    """Return the rows of a compiled cohort, persons under the key of the project.

    `open_source` gives the rows of a table by its name.
    """
    own = session.newSession()
    with translate_java_errors("selecting the cohort"):
        for step in compiled.steps:
            if step.source is not None:
                open_source(own, step.source).createOrReplaceTempView(f"source_{step.name}")
        common = ", ".join(f"{step.name} AS ({step.sql})" for step in compiled.steps)
        rows = own.sql(f"WITH {common} {compiled.sql}")
        hashed = F.sha2(F.concat(F.lit(key), F.col("person").cast("string")), 256)
        return rows.withColumn("person", hashed).toArrow()
