"""Registry of the lake's tables (path, columns, layout), and reading and writing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ENTRY_COLUMNS = (
    "position LONG, type STRING, id STRING, version INT, last_updated STRING, author STRING"
)
# What the consent predicate reads of a record, computed once per version.
FACT_COLUMNS = (
    "patients ARRAY<STRING>, domain STRING, episodes STRING, clinical_date LONG,"
    " directory INT, inner_domains STRING, author_people STRING"
)


_NO_STATISTICS: Mapping[str, str | None] = {"delta.dataSkippingNumIndexedCols": "0"}


@dataclass(frozen=True)
class TableSpec:
    """One Delta table: its columns and how its files are laid out."""

    columns: str
    partitioned_by: tuple[str, ...] = ()
    # Delta writes the least and greatest value of these columns into its log, and of no other, so
    # that no text of a record gets there: a deleted row would stay readable in the log.
    statistics: tuple[str, ...] = ()


TABLES: Mapping[str, TableSpec] = MappingProxyType(
    {
        "bronze": TableSpec("source STRING, position LONG, line STRING", statistics=("position",)),
        "silver": TableSpec(
            f"{ENTRY_COLUMNS}, deleted BOOLEAN, {FACT_COLUMNS}, resource STRING",
            partitioned_by=("type",),
            statistics=("position",),
        ),
        "quarantine": TableSpec(
            "key STRING, position LONG, type STRING, id STRING, version INT,"
            " last_updated STRING, author STRING, reasons ARRAY<STRING>, resource STRING,"
            " released BOOLEAN",
            statistics=("position",),
        ),
        "deid": TableSpec(
            "type STRING, id STRING, patient STRING, resource STRING",
            partitioned_by=("type",),
            statistics=("id",),
        ),
    }
)


@dataclass(frozen=True)
class Lake:
    """The folder of the lake."""

    root: Path

    @property
    def landing_folder(self) -> Path:
        """Return the folder in which pulled pages of the feed lie."""
        return self.root / "landing"

    @property
    def feed_epoch(self) -> Path:
        """Return the file that names the store, and its epoch, whose changes are landed."""
        return self.root / "feed-epoch.json"

    @property
    def facts_version(self) -> Path:
        """Return the file that names the version of the rules by which silver's facts are."""
        return self.root / "facts-version"

    @property
    def quality_folder(self) -> Path:
        """Return the folder of the quality gate's results."""
        return self.root / "quality"

    def checkpoint_path(self, stream: str) -> Path:
        """Return where a stream remembers how far it has read."""
        return self.root / "checkpoints" / stream

    def table_path(self, name: str) -> Path:
        """Return the path of a table, `gold/patient_demographics` or `silver`."""
        return self.root / name

    def has_table(self, name: str) -> bool:
        """Say whether a table was created."""
        return (self.table_path(name) / "_delta_log").is_dir()


def create_table(spark: SparkSession, lake: Lake, name: str) -> None:
    """Create a registered table, empty, unless it exists."""
    if lake.has_table(name):
        return
    spec = TABLES[name]
    partition = f"PARTITIONED BY ({', '.join(spec.partitioned_by)})" if spec.partitioned_by else ""
    spark.sql(
        f"CREATE TABLE IF NOT EXISTS delta.`{lake.table_path(name).resolve()}` ({spec.columns})"
        f" USING DELTA {partition} TBLPROPERTIES"
        f" ('delta.dataSkippingStatsColumns' = '{','.join(spec.statistics)}')"
    )


def read_table(spark: SparkSession, lake: Lake, name: str) -> DataFrame:
    """Read a table of the lake with Spark."""
    return spark.read.format("delta").load(str(lake.table_path(name)))


def read_small_table(lake: Lake, name: str) -> pa.Table:
    """Read a small table without Spark."""
    return pa.table(DeltaTable(str(lake.table_path(name))).to_pyarrow_table())


def count_rows(lake: Lake, name: str) -> int:
    """Return how many rows a table has, from Delta's log alone."""
    actions = pa.table(DeltaTable(str(lake.table_path(name))).get_add_actions(flatten=True))
    return int(sum(actions.column("num_records").to_pylist())) if actions.num_rows else 0


def write_small_table(lake: Lake, name: str, rows: pa.Table) -> None:
    """Replace a small table whole in one commit, without Spark, unless it holds just these rows."""
    if lake.has_table(name) and read_small_table(lake, name).equals(rows):
        return
    path = lake.table_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(
        str(path),
        rows,
        mode="overwrite",
        schema_mode="overwrite",
        configuration=None if lake.has_table(name) else _NO_STATISTICS,
    )
