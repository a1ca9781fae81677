"""Cohorts on Spark: the same steps as common table expressions, in a session of its own.

Who has an index date is worked out first, and comes back as the result does: every set of events is
cut to these few people. As a common table expression Spark would work it out again for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ehr_analytics.cohorts.compiler import INDEX_STEP, CompiledCohort, Step
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
        names = [step.name for step in compiled.steps]
        before = compiled.steps[: names.index(INDEX_STEP) + 1]
        # Names of the compiler.
        index = own.sql(f"{_render(before)} SELECT * FROM {INDEX_STEP}").toArrow()  # noqa: S608
        # Of a table of its own Spark knows the size, and sends it to the rows of events.
        own.createDataFrame(index).createOrReplaceTempView(INDEX_STEP)
        others = [step for step in compiled.steps if step.name != INDEX_STEP]
        rows = own.sql(f"{_render(others)} {compiled.sql}")
        hashed = F.sha2(F.concat(F.lit(key), F.col("person").cast("string")), 256)
        return rows.withColumn("person", hashed).toArrow()


def _render(steps: Iterable[Step]) -> str:
    return "WITH " + ", ".join(f"{step.name} AS ({step.sql})" for step in steps)
