"""Quarantine: versions that break a quality rule wait here until a steward releases them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson
from deltalake import DeltaTable
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from ehr_etl.change_feed.entries import FeedEntry, consent_facts
from ehr_etl.data_quality.results import ExpectationResult, TableQuality
from ehr_etl.data_quality.rules import load_quality_rules
from ehr_etl.lake import Lake, count_rows, read_table
from ehr_etl.spark.java_errors import translate_java_errors
from ehr_etl.tables.silver import (
    PARSED_COLUMNS,
    SILVER_COLUMNS,
    merge_into_silver,
    to_record_batch,
)
from ehr_fhir.errors import NotFound, Unprocessable

_LISTED_COLUMNS = ("position", "type", "id", "version", "last_updated", "reasons", "released")


@dataclass(frozen=True)
class HeldVersion:
    """A version that waits; a line that is no record has a reason and nothing else."""

    position: int | None
    type: str | None
    id: str | None
    version: int | None
    last_updated: str | None
    reasons: tuple[str, ...]


def list_held_versions(lake: Lake) -> list[HeldVersion]:
    """Return what waits for a steward, in the order of the feed, without the records' content."""
    if not lake.has_table("quarantine"):
        return []
    # By column: the content of the records is not read.
    table = DeltaTable(str(lake.table_path("quarantine"))).to_pyarrow_table(
        columns=list(_LISTED_COLUMNS)
    )
    held = [
        HeldVersion(
            **{name: row[name] for name in _LISTED_COLUMNS[:5]}, reasons=tuple(row["reasons"])
        )
        for row in table.to_pylist()
        if not row["released"]
    ]
    return sorted(held, key=lambda version: (version.position is None, version.position or 0))


def require_held(lake: Lake, position: int) -> HeldVersion:
    """Return the version that waits at a feed position; NotFound when none does."""
    for held in list_held_versions(lake):
        if held.position == position:
            return held
    raise NotFound(f"Nothing in quarantine waits at the feed position {position}.")


def release_version(spark: SparkSession, lake: Lake, position: int) -> None:
    """Put the held version of a feed position into silver, unless silver has a newer one.

    deid and gold follow at the next run. A line that is not a record cannot be released.
    """
    with translate_java_errors("releasing a version from quarantine"):
        rows = (
            read_table(spark, lake, "quarantine")
            .where(F.col("position") == position)
            .limit(1)
            .collect()
        )
        if not rows:
            raise NotFound(f"Nothing in quarantine has the feed position {position}.")
        if rows[0]["type"] is None or rows[0]["resource"] is None:
            raise Unprocessable(
                "This line of the feed is not a record: there is nothing to release."
            )
        parsed = to_record_batch([_restore_entry(rows[0])]).to_pylist()
        merge_into_silver(
            lake, spark.createDataFrame(parsed, PARSED_COLUMNS).select(*SILVER_COLUMNS)
        )
        _mark_released(spark, lake, position)


def summarize_silver(lake: Lake) -> TableQuality:
    """Count, by quality rule, the held versions among all lines ever received."""
    received = count_rows(lake, "bronze")
    held: Mapping[str, int] = Counter(
        reason for version in list_held_versions(lake) for reason in version.reasons
    )
    names = [rule.name for rule in load_quality_rules().rules]
    # Faults of the feed's own lines have no rule.
    names += sorted(held.keys() - set(names))
    results = tuple(
        ExpectationResult(name, name not in held, received, held.get(name, 0)) for name in names
    )
    return TableQuality("silver", count_rows(lake, "silver"), results)


def _restore_entry(row: Row) -> FeedEntry:
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
    return replace(entry, facts=consent_facts(orjson.loads(row["resource"]), row["author"]))


def _mark_released(spark: SparkSession, lake: Lake, position: int) -> None:
    # Last, so that a crash before it leaves the version waiting rather than lost.
    spark.sql(
        f"UPDATE delta.`{lake.table_path('quarantine').resolve()}` SET released = true"  # noqa: S608
        f" WHERE position = {int(position)}"
    )
