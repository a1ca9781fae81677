"""Tables made anew from all their input, each written beside the old one and switched by a commit.

For the first load, for a change of rules, keys or views, and by hand. What results is what batches
of changes give (`batch`), row by row; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ehr_etl.data_quality.rules import QualityRules
from ehr_etl.lake import BUCKET, TABLES, Lake, read_table
from ehr_etl.spark.java_errors import translate_java_errors
from ehr_etl.tables.bucketed import Layout
from ehr_etl.tables.decisions import PatientDecision, build_decision_row, list_patients
from ehr_etl.tables.deid import scrub_all
from ehr_etl.tables.places import build_place_rows
from ehr_etl.tables.silver import SilverReport, check_lines, parse_lines

__all__ = ["SILVER_TABLES", "rebuild_deid", "rebuild_silver"]

# What is made from bronze and the stewards' decisions, together.
SILVER_TABLES = ("silver", "silver_history", "quarantine", "decisions", "places")

Batches = Iterable[pa.RecordBatch]
_SPARK_TYPES = {
    pa.int64(): "LONG", pa.int32(): "INT", pa.string(): "STRING", pa.bool_(): "BOOLEAN",
    pa.list_(pa.string()): "ARRAY<STRING>",
}  # fmt: skip
_VERSION = "position, type, id, version, last_updated, author, deleted"
# The newest good version (`g`), with the facts told last of just that version, and whether a newer
# one waits; the version that waits (`w`).
_NEWEST = (
    "SELECT type, id, max_by(struct(sequence, {version}, reasons, resource),"
    " struct(version, sequence)) AS v FROM checked_line WHERE kind = 'version'"
    " AND size(reasons) {sign} 0 GROUP BY type, id"
)
_FACTS = (
    "SELECT type, id, version, max_by(struct(facts), sequence).facts AS facts FROM checked_line"
    " WHERE kind IN ('version', 'facts') GROUP BY type, id, version"
)
_SILVER = (
    f"SELECT {', '.join(f'g.v.{name}' for name in _VERSION.split(', '))},"  # noqa: S608
    " coalesce(w.v.version > g.v.version, false) AS held, f.facts, g.v.resource"
    " FROM good_version g LEFT JOIN bad_version w ON w.type = g.type AND w.id = g.id"
    " LEFT JOIN version_facts f"
    " ON f.type = g.type AND f.id = g.id AND f.version = g.v.version"
)
_QUARANTINE = (
    "SELECT concat(w.type, '/', w.id) AS key,"  # noqa: S608
    f" {', '.join(f'w.v.{name}' for name in _VERSION.split(', '))},"
    " f.facts, w.v.reasons, w.v.resource"
    " FROM bad_version w LEFT JOIN good_version g ON w.type = g.type AND w.id = g.id"
    " LEFT JOIN version_facts f"
    " ON f.type = w.type AND f.id = w.id AND f.version = w.v.version"
    " WHERE g.v IS NULL OR w.v.version > g.v.version"
    " UNION ALL SELECT key, first(position), NULL, NULL, NULL, NULL, NULL, false, NULL,"
    " first(reasons), first(resource) FROM checked_line WHERE kind = 'fault' GROUP BY key"
)
_DECISIONS = (
    "SELECT coalesce(t.id, p.id) AS patient, CASE WHEN t.id IS NULL THEN '[]' ELSE t.rules END"
    " AS rules, coalesce(p.deleted, false) AS gone FROM"
    " (SELECT id, max_by(struct(rules), sequence).rules AS rules FROM checked_line"
    " WHERE kind = 'rules' GROUP BY id) t FULL OUTER JOIN"
    " (SELECT id, v.deleted AS deleted FROM good_version WHERE type = 'Patient' AND v.deleted) p"
    " ON p.id = t.id"
)


def rebuild_silver(
    spark: SparkSession,
    lake: Lake,
    layout: Layout,
    rules: QualityRules,
    *,
    up_to: int,
    now_ms: int,
) -> SilverReport:
    """Make silver, its history, quarantine, decisions and places from all lines up to one."""
    with translate_java_errors("rebuilding silver"):
        lines = parse_lines(read_table(spark, lake, "bronze").where(f"sequence <= {int(up_to)}"))
        released = read_table(spark, lake, "steward_decisions").where("decision = 'release'")
        checked = (
            check_lines(lines, rules)
            .join(released.selectExpr("position", "true AS is_released").distinct(), "position",
                  "left")
            .withColumn(
                "reasons",
                F.expr("CASE WHEN is_released AND kind = 'version'"
                       " THEN CAST(array() AS ARRAY<STRING>) ELSE reasons END"),
            )
            .drop("is_released")
            .persist()
        )  # fmt: skip
        try:
            return _write_silver_tables(spark, lake, layout, checked, now_ms)
        finally:
            checked.unpersist()


def rebuild_deid(spark: SparkSession, lake: Lake, layout: Layout, key: bytes, now_ms: int) -> None:
    """Make deid from silver and decisions."""
    with translate_java_errors("rebuilding deid"):
        rows = scrub_all(
            read_table(spark, lake, "silver"), read_table(spark, lake, "decisions"), key, now_ms
        )
        _write_table(lake, "deid", rows, layout)


def _write_silver_tables(
    spark: SparkSession, lake: Lake, layout: Layout, checked: DataFrame, now_ms: int
) -> SilverReport:
    checked.createOrReplaceTempView("checked_line")
    spark.sql(_NEWEST.format(version=_VERSION, sign="=")).createOrReplaceTempView("good_version")
    spark.sql(_NEWEST.format(version=_VERSION, sign=">")).createOrReplaceTempView("bad_version")
    spark.sql(_FACTS).createOrReplaceTempView("version_facts")
    silver = spark.sql(_SILVER).mapInArrow(
        _with_bucket("silver", layout, _record_place), _columns("silver")
    )
    _write_table(lake, "silver", silver, layout)
    history = checked.where("kind = 'version' AND size(reasons) = 0").select(
        *TABLES["silver_history"].schema.names
    )
    history.write.format("delta").mode("overwrite").save(str(lake.table_path("silver_history")))
    quarantine = spark.sql(_QUARANTINE).mapInArrow(
        _with_bucket("quarantine", layout, _key_place), _columns("quarantine")
    )
    _write_table(lake, "quarantine", quarantine, layout)
    decisions = spark.sql(_DECISIONS).mapInArrow(
        _decision_rows(layout, now_ms), _columns("decisions")
    )
    _write_table(lake, "decisions", decisions, layout)
    places = read_table(spark, lake, "silver").mapInArrow(_place_rows(layout), _columns("places"))
    _write_table(lake, "places", places.distinct(), layout)
    report = SilverReport()
    counts = checked.where("kind IN ('version', 'fault')").groupBy("reasons").count().collect()
    for row in counts:
        report.count(row["reasons"], row["count"])
    return report


def _write_table(lake: Lake, name: str, rows: DataFrame, layout: Layout) -> None:
    tasks = max(2, layout.buckets // 64)
    rows.repartition(tasks, BUCKET).sortWithinPartitions(BUCKET).write.format("delta").mode(
        "overwrite"
    ).partitionBy(BUCKET).save(str(lake.table_path(name)))


def _columns(name: str) -> str:
    return ", ".join(f"{item.name} {_SPARK_TYPES[item.type]}" for item in TABLES[name].schema)


def _with_bucket(
    name: str, layout: Layout, place_of: Callable[[Layout, dict[str, Any]], int]
) -> Callable[[Batches], Iterator[pa.RecordBatch]]:
    schema = TABLES[name].schema

    def add_buckets(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [{**row, BUCKET: place_of(layout, row)} for row in batch.to_pylist()]
            yield pa.RecordBatch.from_pylist(rows, schema=schema)

    return add_buckets


def _record_place(layout: Layout, row: dict[str, Any]) -> int:
    return layout.record_place(list_patients(row), row["type"], row["id"])


def _key_place(layout: Layout, row: dict[str, Any]) -> int:
    return layout.place(row["key"])


def _decision_rows(layout: Layout, now_ms: int) -> Callable[[Batches], Iterator[pa.RecordBatch]]:
    def make_rows(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            decisions = {
                row["patient"]: PatientDecision(row["rules"], row["gone"])
                for row in batch.to_pylist()
            }
            told = [
                build_decision_row(layout, patient, decision, now_ms)
                for patient, decision in decisions.items()
                if decision != PatientDecision()
            ]
            yield pa.RecordBatch.from_pylist(told, schema=TABLES["decisions"].schema)

    return make_rows


def _place_rows(layout: Layout) -> Callable[[Batches], Iterator[pa.RecordBatch]]:
    def make_rows(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [
                place_row
                for row in batch.to_pylist()
                for place_row in build_place_rows(layout, row)
            ]
            yield pa.RecordBatch.from_pylist(rows, schema=TABLES["places"].schema)

    return make_rows
