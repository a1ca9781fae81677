"""Cohorts on Spark: the same steps as views, each computed once, in a session of its own."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

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
    kept: list[DataFrame] = []
    with translate_java_errors("selecting the cohort"):
        try:
            for step in compiled.steps:
                if step.source is not None:
                    open_source(own, step.source).createOrReplaceTempView(f"source_{step.name}")
                rows = own.sql(step.sql)
                # A view is planned anew wherever it is read, and steps build on each other: without
                # this a million people took minutes.
                if _count_readers(compiled, step.name) > 1:
                    rows = rows.persist(StorageLevel.MEMORY_AND_DISK)
                    kept.append(rows)
                rows.createOrReplaceTempView(step.name)
            hashed = F.sha2(F.concat(F.lit(key), F.col("person").cast("string")), 256)
            return own.sql(compiled.sql).withColumn("person", hashed).toArrow()
        finally:
            for rows in kept:
                rows.unpersist()


def _count_readers(compiled: CompiledCohort, name: str) -> int:
    """Return how often the SQL of a cohort reads a step."""
    pattern = re.compile(rf"\b{re.escape(name)}\b")
    texts = [*(step.sql for step in compiled.steps if step.name != name), compiled.sql]
    return sum(len(pattern.findall(text)) for text in texts)
