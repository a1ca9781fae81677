"""Views over deid (for research) or silver (inside the trusted zone), and the gold tables."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import orjson
from pyspark.sql import DataFrame, SparkSession

from ehr_etl.lake import Lake, read_table
from ehr_etl.spark.java_errors import translate_java_errors
from ehr_etl.sql_on_fhir import ViewDefinition, compile_view, parse_view
from ehr_fhir.errors import Invalid, NotFound

VIEWS = ("patient_demographics", "encounter_flat", "condition_flat")
SOURCES = ("deid", "silver")


def load_view(name: str) -> ViewDefinition:
    """Read one of the views that come with the lake."""
    return parse_view(
        orjson.loads((files(__package__) / "view_definitions" / f"{name}.json").read_bytes())
    )


def read_view_file(file: Path) -> ViewDefinition:
    """Read a ViewDefinition from a file."""
    if not file.is_file():
        raise NotFound(f"There is no file {file}.")
    try:
        content = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise Invalid(f"{file.name} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise Invalid(f"{file.name} is not a ViewDefinition: a JSON object is needed.")
    return parse_view(content)


def run_view(spark: SparkSession, lake: Lake, file: Path, source: str = "deid") -> DataFrame:
    """Return the table of a ViewDefinition file over deid, or over silver with identities."""
    return view_frame(spark, lake, read_view_file(file), source)


def view_frame(
    spark: SparkSession, lake: Lake, view: ViewDefinition, source: str = "deid"
) -> DataFrame:
    """Return the table of a view; nothing is read until the frame is."""
    if source not in SOURCES:
        raise Invalid(f"A view reads {' or '.join(SOURCES)}, not {source!r}.")
    compiled = compile_view(view)
    with translate_java_errors(f"reading {source}"):
        records = read_table(spark, lake, source)
        if source == "silver":
            records = records.where("NOT deleted")
        # A name of its own: frames of two sources live side by side, and Spark looks views up
        # when a query is analysed.
        name = f"view_source_{source}"
        records.createOrReplaceTempView(name)
        return spark.sql(compiled.sql(name))


def run_identified_views(spark: SparkSession, lake: Lake) -> Mapping[str, DataFrame]:
    """Return the lake's views over silver, for operations inside the trusted zone (scoring)."""
    return {name: view_frame(spark, lake, load_view(name), "silver") for name in VIEWS}


def build_gold_table(spark: SparkSession, lake: Lake, name: str) -> None:
    """Write a gold table anew in one commit; readers see the old one or the new one."""
    frame = view_frame(spark, lake, load_view(name))
    (
        frame.coalesce(1)
        .write.format("delta")
        .mode("overwrite")
        .option("overwriteSchema", "true")
        .save(str(lake.table_path(f"gold/{name}")))
    )
