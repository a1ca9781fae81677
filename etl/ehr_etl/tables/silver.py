"""Silver: the latest good version of each resource; a version that breaks a rule is quarantined.

A batch may run twice after a crash. Both writes are idempotent: silver takes a version only if it
is newer than its own, quarantine takes a line only once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

import orjson
import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ehr_etl.change_feed.entries import ConsentFacts, FeedEntry, consent_facts, parse_entry
from ehr_etl.data_quality.rules import QualityRules, load_quality_rules
from ehr_etl.lake import ENTRY_COLUMNS, FACT_COLUMNS, TABLES, Lake, create_table, read_table

PARSED_COLUMNS = (
    f"key STRING, {ENTRY_COLUMNS}, deleted BOOLEAN, {FACT_COLUMNS}, resource STRING, fault STRING"
)
SILVER_COLUMNS = (
    *("position", "type", "id", "version", "last_updated", "author", "deleted"),
    *("patients", "domain", "episodes", "clinical_date", "directory"),
    *("inner_domains", "author_people", "resource"),
)
QUARANTINE_COLUMNS = (
    *("key", "position", "type", "id", "version", "last_updated", "author"),
    *("reasons", "resource"),
    "false AS released",
)

_PARSED_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("position", pa.int64()),
        ("type", pa.string()),
        ("id", pa.string()),
        ("version", pa.int32()),
        ("last_updated", pa.string()),
        ("author", pa.string()),
        ("deleted", pa.bool_()),
        ("patients", pa.list_(pa.string())),
        ("domain", pa.string()),
        ("episodes", pa.string()),
        ("clinical_date", pa.int64()),
        ("directory", pa.int32()),
        ("inner_domains", pa.string()),
        ("author_people", pa.string()),
        ("resource", pa.string()),
        ("fault", pa.string()),
    ]
)
# Raised when versions give other facts than before: silver tables are worked out anew.
FACTS_VERSION = "3"
_SILVER_DDL = TABLES["silver"].columns
_SILVER_SCHEMA = pa.schema(
    [_PARSED_SCHEMA.field(name) for name in re.findall(r"(?:^|, )(\w+) ", _SILVER_DDL)]
)


@dataclass
class SilverReport:
    """How many lines the batches of one run took in, passed and quarantined, and why."""

    taken: int = 0
    passed: int = 0
    quarantined: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def refresh_silver(spark: SparkSession, lake: Lake) -> SilverReport:
    """Take every bronze line that was not taken yet into silver or quarantine."""
    if lake.has_table("silver"):
        renew_facts(spark, lake)
    else:
        create_table(spark, lake, "silver")
        lake.facts_version.write_text(f"{FACTS_VERSION}\n", "utf-8")
    create_table(spark, lake, "quarantine")
    report, rules = SilverReport(), load_quality_rules()
    query = (
        spark.readStream.format("delta")
        .load(str(lake.table_path("bronze")))
        .writeStream.foreachBatch(
            lambda batch, number: write_batch(lake, rules, batch, report),
        )
        .option("checkpointLocation", str(lake.checkpoint_path("silver")))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return report


def renew_facts(spark: SparkSession, lake: Lake) -> None:
    """Work out the facts of a silver table anew that another version of the rules made."""
    version = lake.facts_version.read_text("utf-8") if lake.facts_version.exists() else ""
    if version.strip() == FACTS_VERSION:
        return
    kept = ("position", "type", "id", "version", "last_updated", "author", "deleted", "resource")
    rows = read_table(spark, lake, "silver").select(*kept).mapInArrow(_renew_batches, _SILVER_DDL)
    rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").partitionBy(
        *TABLES["silver"].partitioned_by
    ).save(str(lake.table_path("silver")))
    lake.facts_version.write_text(f"{FACTS_VERSION}\n", "utf-8")


def write_batch(lake: Lake, rules: QualityRules, batch: DataFrame, report: SilverReport) -> None:
    """Write one batch of bronze lines to quarantine and silver."""
    checked = check_entries(parse_lines(batch), rules).persist()
    try:
        counts = checked.groupBy("reasons").count().collect()
        _add_to_report(report, [(tuple(row["reasons"]), row["count"]) for row in counts])
        if any(row["reasons"] for row in counts):
            merge_into_quarantine(lake, checked.where("size(reasons) > 0"))
        if any(not row["reasons"] for row in counts):
            merge_into_silver(lake, keep_newest(checked.where("size(reasons) = 0")))
    finally:
        checked.unpersist()


def parse_lines(lines: DataFrame) -> DataFrame:
    """Turn bronze's column line into entries: the columns of PARSED."""
    return lines.select("line").mapInArrow(_parse_batches, PARSED_COLUMNS)


def check_entries(entries: DataFrame, rules: QualityRules) -> DataFrame:
    """Add reasons ARRAY<STRING>: the fault of the line, or the names of the rules it breaks."""
    reasons = (
        "CASE WHEN fault IS NOT NULL THEN array(fault)"
        f" WHEN deleted THEN CAST(array() AS ARRAY<STRING>) ELSE {rules.reasons_sql()} END"
    )
    return (
        entries.withColumn("r", F.from_json("resource", rules.elements))
        .withColumn("reasons", F.expr(reasons))
        .drop("r", "fault")
    )


def keep_newest(entries: DataFrame) -> DataFrame:
    """Keep the greatest version of each resource: the columns of silver."""
    row = f"struct({', '.join(SILVER_COLUMNS)})"
    return (
        entries.groupBy("type", "id")
        .agg(F.expr(f"max_by({row}, version) AS newest"))
        .select("newest.*")
    )


def merge_into_silver(lake: Lake, rows: DataFrame) -> None:
    """Upsert rows into silver, each only if newer than the version there."""
    path = lake.table_path("silver").resolve()
    # A plain append, because a MERGE costs seconds however small it is.
    if is_empty_table(lake, "silver"):
        rows.write.format("delta").mode("append").save(str(path))
        return
    rows.createOrReplaceTempView("silver_changes")
    rows.sparkSession.sql(
        f"MERGE INTO delta.`{path}` target USING silver_changes source"
        " ON target.type = source.type AND target.id = source.id"
        " WHEN MATCHED AND source.version > target.version THEN UPDATE SET *"
        " WHEN NOT MATCHED THEN INSERT *"
    )


def merge_into_quarantine(lake: Lake, rows: DataFrame) -> None:
    """Insert failing rows into quarantine, each line once."""
    path = lake.table_path("quarantine").resolve()
    # The feed may repeat a line, and a MERGE refuses two source rows of one key.
    rows = rows.dropDuplicates(["key"]).selectExpr(*QUARANTINE_COLUMNS)
    if is_empty_table(lake, "quarantine"):
        rows.write.format("delta").mode("append").save(str(path))
        return
    rows.createOrReplaceTempView("quarantine_changes")
    rows.sparkSession.sql(
        f"MERGE INTO delta.`{path}` target USING quarantine_changes source"
        " ON target.key = source.key WHEN NOT MATCHED THEN INSERT *"
    )


def is_empty_table(lake: Lake, name: str) -> bool:
    """Say whether a table has no data files."""
    return not DeltaTable(str(lake.table_path(name))).file_uris()


def to_record_batch(entries: list[FeedEntry]) -> pa.RecordBatch:
    """Return entries as Arrow columns in the order of PARSED_COLUMNS."""
    rows = [
        {
            **{name: getattr(entry, name) for name in _PARSED_SCHEMA.names if hasattr(entry, name)},
            **{name: getattr(entry.facts, name) for name in ConsentFacts.__dataclass_fields__},
        }
        for entry in entries
    ]
    return pa.RecordBatch.from_pylist(rows, schema=_PARSED_SCHEMA)


def _parse_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield to_record_batch([parse_entry(line) for line in batch.column("line").to_pylist()])


def _renew_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = []
        for row in batch.to_pylist():
            facts = ConsentFacts()
            if not row["deleted"]:
                facts = consent_facts(orjson.loads(row["resource"]), row["author"])
            rows.append({**row, **asdict(facts), "patients": list(facts.patients)})
        yield pa.RecordBatch.from_pylist(rows, schema=_SILVER_SCHEMA)


def _add_to_report(report: SilverReport, counts: list[tuple[tuple[str, ...], int]]) -> None:
    for reasons, count in counts:
        report.taken += count
        report.passed += 0 if reasons else count
        report.quarantined += count if reasons else 0
        for reason in reasons:
            report.reasons[reason] = report.reasons.get(reason, 0) + count
