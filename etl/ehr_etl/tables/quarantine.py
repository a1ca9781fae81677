"""The steward's release: a version held in quarantine goes on into silver after all."""

from __future__ import annotations

from dataclasses import replace

import orjson
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from ehr_etl.change_feed.entries import FeedEntry, consent_facts
from ehr_etl.lake import Lake, read_table
from ehr_etl.spark.java_errors import translate_java_errors
from ehr_etl.tables.silver import PARSED_COLUMNS, SILVER_COLUMNS, merge_into_silver, to_record_batch
from ehr_fhir.errors import NotFound, Unprocessable


def release_version(spark: SparkSession, lake: Lake, position: int) -> None:
    """Put the held version of a feed position into silver, unless silver has a newer one.

    deid and gold follow at the next run. A line that is not a record stays where it is.
    """
    with translate_java_errors("releasing a version from quarantine"):
        held = (
            read_table(spark, lake, "quarantine")
            .where(F.col("position") == position)
            .limit(1)
            .collect()
        )
        if not held:
            raise NotFound(f"Nothing in quarantine has the feed position {position}.")
        row = held[0]
        if row["type"] is None or row["resource"] is None:
            raise Unprocessable(
                "This line of the feed is not a record: there is nothing to release."
            )
        entry = FeedEntry(
            key=row["key"],
            position=row["position"],
            type=row["type"],
            id=row["id"],
            version=row["version"],
            last_updated=row["last_updated"],
            author=row["author"],
            resource=row["resource"],
        )
        entry = replace(entry, facts=consent_facts(orjson.loads(row["resource"]), row["author"]))
        rows = to_record_batch([entry]).to_pylist()
        merge_into_silver(lake, spark.createDataFrame(rows, PARSED_COLUMNS).select(*SILVER_COLUMNS))
        _mark_released(spark, lake, position)


def _mark_released(spark: SparkSession, lake: Lake, position: int) -> None:
    # Last, so that a crash before it leaves the version waiting rather than lost.
    spark.sql(
        f"UPDATE delta.`{lake.table_path('quarantine').resolve()}` SET released = true"  # noqa: S608
        f" WHERE position = {int(position)}"
    )
