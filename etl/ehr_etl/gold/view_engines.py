"""Both engines of views behind one form: a view over records given as type and JSON text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ehr_etl.sql_on_fhir import ViewDefinition, compile_parts
from ehr_etl.sql_on_fhir.duckdb_run import run_view
from ehr_etl.sql_on_fhir.official_suite import Engine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Records = Sequence[tuple[str, str]]
Answer = tuple[list[str], list[dict[str, Any]]]  # Any: a value of any FHIR primitive


def run_records_on_duckdb(view: ViewDefinition, records: Records) -> Answer:
    """Run a view on DuckDB; return its columns and rows."""
    columns = {"type": [kind for kind, _ in records], "resource": [text for _, text in records]}
    table = run_view(view, lambda: pa.table(columns))
    return table.column_names, table.to_pylist()


def create_spark_engine(spark: SparkSession) -> Engine:
    """Return an engine that runs views on Spark."""
    from ehr_etl.spark.java_errors import translate_java_errors

    def run(view: ViewDefinition, records: Records) -> Answer:
        parts = compile_parts(view)
        with translate_java_errors("running a view"):
            source = spark.createDataFrame(list(records), "type STRING, resource STRING")
            source.createOrReplaceTempView("view_records")
            frame = spark.sql(" UNION ALL ".join(part.sql("view_records") for part in parts))
            return frame.columns, [row.asDict(recursive=True) for row in frame.collect()]

    return run
