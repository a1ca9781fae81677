"""Bronze: every line of the landed files, appended once, exactly as received."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession

from ehr_etl.lake import Lake, create_table

_COLUMNS = (
    "element_at(split(_metadata.file_path, '/'), -1) AS source",
    "try_cast(get_json_object(value, '$.position') AS LONG) AS position",
    "value AS line",
)


def append_to_bronze(spark: SparkSession, lake: Lake) -> None:
    """Append the lines of the landing files that were not read yet.

    The stream's checkpoint remembers the files, Delta remembers the batch: a batch replayed after
    a crash is not appended twice.
    """
    create_table(spark, lake, "bronze")
    query = (
        to_bronze_columns(stream_landing_files(spark, lake))
        .writeStream.format("delta")
        .outputMode("append")
        .option("checkpointLocation", str(lake.checkpoint_path("bronze")))
        .trigger(availableNow=True)
        .start(str(lake.table_path("bronze")))
    )
    query.awaitTermination()


def stream_landing_files(spark: SparkSession, lake: Lake) -> DataFrame:
    """Return the stream of landing files: value STRING."""
    lake.landing_folder.mkdir(parents=True, exist_ok=True)
    return (
        spark.readStream.format("text")
        .option("pathGlobFilter", "*.ndjson")
        .load(str(lake.landing_folder))
    )


def to_bronze_columns(landing: DataFrame) -> DataFrame:
    """Map value STRING to the columns of bronze."""
    return landing.selectExpr(*_COLUMNS)
