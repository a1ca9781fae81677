"""Silver: the newest good version of each resource; a newer one that breaks a rule is quarantined.

What a line does to the state of its resource is one pure function (`ResourceState.take`), so that
the tables do not depend on how the lines were cut into batches. `ehr_etl.rebuild` says the same of
all lines at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ehr_etl.change_feed.entries import FeedLine, parse_line
from ehr_etl.data_quality.rules import QualityRules

__all__ = [
    "LINE_COLUMNS",
    "ResourceState",
    "SilverReport",
    "check_batch",
    "check_lines",
    "parse_lines",
]

Row = dict[str, Any]

LINE_COLUMNS = (
    "sequence LONG, kind STRING, key STRING, position LONG, type STRING, id STRING, version INT,"
    " last_updated STRING, author STRING, deleted BOOLEAN, facts STRING, rules STRING,"
    " resource STRING, fault STRING"
)
_ARROW_TYPES = {
    "LONG": pa.int64(), "INT": pa.int32(), "STRING": pa.string(), "BOOLEAN": pa.bool_()
}  # fmt: skip
_LINE_SCHEMA = pa.schema(
    [
        (name, _ARROW_TYPES[kind])
        for name, kind in (column.split() for column in LINE_COLUMNS.split(","))
    ]
)
_CHECKED_SCHEMA = pa.schema(
    [
        ("sequence", pa.int64()),
        ("type", pa.string()),
        ("id", pa.string()),
        ("version", pa.int32()),
        ("last_updated", pa.string()),
        ("resource", pa.string()),
    ]
)
_VERSION_COLUMNS = (
    *("position", "type", "id", "version", "last_updated", "author"),
    *("deleted", "facts", "resource"),
)


@dataclass
class SilverReport:
    """How many versions the run took in, passed and quarantined, and why."""

    taken: int = 0
    passed: int = 0
    quarantined: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def count(self, reasons: Collection[str], number: int = 1) -> None:
        """Count versions that broke some rules, or none."""
        self.taken += number
        self.passed += 0 if reasons else number
        self.quarantined += number if reasons else 0
        for reason in reasons:
            self.reasons[reason] = self.reasons.get(reason, 0) + number


@dataclass
class ResourceState:
    """The newest good version of a resource, and a newer one that waits in quarantine.

    Both are rows without their bucket; `passed` collects the good versions that were taken.
    """

    current: Row | None = None
    waiting: Row | None = None
    passed: list[Row] = field(default_factory=list)

    def take(self, line: FeedLine, reasons: Sequence[str]) -> None:
        """Take one line about this resource; order within the feed matters, batches do not."""
        if line.kind == "facts":
            for row in (self.current, self.waiting):
                if row is not None and row["version"] == line.version:
                    row["facts"] = line.facts
            return
        row = {name: getattr(line, name) for name in _VERSION_COLUMNS}
        if reasons:
            if self.waiting is None or row["version"] >= self.waiting["version"]:
                self.waiting = {**row, "reasons": list(reasons)}
            return
        self._pass_version(row)

    def release(self, position: int) -> None:
        """Take the waiting version as good, as a steward decided; nothing if it waits no more."""
        if self.waiting is not None and self.waiting["position"] == position:
            row, self.waiting = self.waiting, None
            self._pass_version({name: row[name] for name in _VERSION_COLUMNS})

    def _pass_version(self, row: Row) -> None:
        """Take a good version."""
        self.passed.append(row)
        if self.current is None or row["version"] >= self.current["version"]:
            self.current = dict(row)

    def settle(self) -> None:
        """Drop a waiting version that a good one supersedes; a newer one holds the record."""
        if self.current is None:
            return
        if self.waiting is not None and self.current["version"] >= self.waiting["version"]:
            self.waiting = None
        self.current["held"] = self.waiting is not None


def parse_lines(lines: DataFrame) -> DataFrame:
    """Turn bronze's columns sequence and line into LINE_COLUMNS."""
    return lines.select("sequence", "line").mapInArrow(_parse_batches, LINE_COLUMNS)


def check_lines(lines: DataFrame, rules: QualityRules) -> DataFrame:
    """Add reasons ARRAY<STRING>: the fault of the line, or the names of the rules it breaks."""
    reasons = (
        "CASE WHEN fault IS NOT NULL THEN array(fault)"
        " WHEN deleted OR resource IS NULL THEN CAST(array() AS ARRAY<STRING>)"
        f" ELSE {rules.reasons_sql()} END"
    )
    return (
        lines.withColumn("r", F.from_json("resource", rules.elements))
        .withColumn("reasons", F.expr(reasons))
        .drop("r")
    )


def check_batch(
    spark: SparkSession, lines: Iterable[tuple[int, FeedLine]], rules: QualityRules
) -> dict[int, list[str]]:
    """Return sequence -> broken rules, of those versions of a batch that break any."""
    rows = [
        {"sequence": sequence, **{name: getattr(line, name) for name in _CHECKED_SCHEMA.names[1:]}}
        for sequence, line in lines
        if line.kind == "version" and line.resource is not None
    ]
    if not rows:
        return {}
    frame = spark.createDataFrame(pa.Table.from_pylist(rows, schema=_CHECKED_SCHEMA))
    checked = check_lines(
        frame.selectExpr("*", "CAST(NULL AS STRING) AS fault", "false AS deleted"), rules
    )
    broken = checked.where("size(reasons) > 0").select("sequence", "reasons").toArrow()
    return {row["sequence"]: row["reasons"] for row in broken.to_pylist()}


def _parse_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    names = [item.name for item in fields(FeedLine)]
    for batch in batches:
        rows: list[Mapping[str, Any]] = []
        for sequence, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            line = parse_line(text)
            rows.append({"sequence": sequence, **{name: getattr(line, name) for name in names}})
        yield pa.RecordBatch.from_pylist(rows, schema=_LINE_SCHEMA)
