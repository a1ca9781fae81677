"""Gold tables: views run over deid for research, or over silver inside the trusted zone."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession

from ehr_etl.gold.library import list_view_names, load_view
from ehr_etl.lake import Lake, read_table
from ehr_etl.spark.java_errors import translate_java_errors
from ehr_etl.sql_on_fhir import ViewDefinition, compile_view
from ehr_fhir.errors import Invalid

SOURCES = ("deid", "silver")


def run_view(
    spark: SparkSession, lake: Lake, view: ViewDefinition, source: str = "deid"
) -> DataFrame:
    """Return the table of a view over deid, or over silver with identities.

    Lazy: no row is read before the frame is.
    """
    if source not in SOURCES:
        raise Invalid(f"A view reads {' or '.join(SOURCES)}, not {source!r}.")
    compiled = compile_view(view)
    with translate_java_errors(f"reading {source}"):
        records = read_table(spark, lake, source)
        if source == "silver":
            records = records.where("NOT deleted")
        # One temporary view per source: frames of two sources live side by side, and Spark
        # resolves the name when a query is analysed.
        name = f"view_source_{source}"
        records.createOrReplaceTempView(name)
        return spark.sql(compiled.sql(name))


def run_identified_views(spark: SparkSession, lake: Lake) -> Mapping[str, DataFrame]:
    """Return the lake's own views over silver, for operations inside the trusted zone (scoring)."""
    return {name: run_view(spark, lake, load_view(name), "silver") for name in list_view_names()}


def build_gold_table(spark: SparkSession, lake: Lake, view: ViewDefinition) -> None:
    """Write a view over deid to its gold table in one commit; readers see the old or the new."""
    (
        run_view(spark, lake, view)
        # Gold tables are small: one file each is read fastest.
        .coalesce(1)
        .write.format("delta")
        .mode("overwrite")
        .option("overwriteSchema", "true")
        .save(str(lake.table_path(gold_table_name(view.name))))
    )


def gold_table_name(view_name: str) -> str:
    """Return the name in the lake of a view's table.

    >>> gold_table_name("condition_flat")
    'gold/condition_flat'
    """
    return f"gold/{view_name}"
