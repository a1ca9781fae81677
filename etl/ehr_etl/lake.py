"""Registry of the lake's tables (path, columns, layout), and reading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import DeltaTable

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BUCKET = "bucket"
# Columns of gold tables that belong to the lake and to no view: by them rows are found again.
GOLD_BUCKET, GOLD_KEY = "_bucket", "_key"
# They are these columns of deid.
GOLD_CARRIED = MappingProxyType({BUCKET: GOLD_BUCKET, "id": GOLD_KEY})

_VERSION_FIELDS = [
    ("position", pa.int64()),
    ("type", pa.string()),
    ("id", pa.string()),
    ("version", pa.int32()),
    ("last_updated", pa.string()),
    ("author", pa.string()),
]


@dataclass(frozen=True)
class TableSpec:
    """One Delta table: its columns and how its files are laid out."""

    schema: pa.Schema
    partitioned_by: str | None = BUCKET
    # Delta writes the least and greatest value of these columns into its log, and of no other, so
    # that no text of a record gets there: a deleted row would stay readable in the log.
    statistics: tuple[str, ...] = ()


TABLES: Mapping[str, TableSpec] = MappingProxyType(
    {
        # Every line of the feed as received. `sequence` counts the lines that the lake received.
        "bronze": TableSpec(
            pa.schema(
                [
                    ("sequence", pa.int64()),
                    ("position", pa.int64()),
                    ("decision", pa.int64()),
                    ("line", pa.string()),
                ]
            ),
            partitioned_by=None,
            statistics=("sequence", "position"),
        ),
        # The newest good version of each resource. `held`: a newer one waits in quarantine.
        # `facts` is JSON; null where the gateway told none, so that nothing can be decided.
        "silver": TableSpec(
            pa.schema(
                [
                    (BUCKET, pa.int32()),
                    *_VERSION_FIELDS,
                    ("deleted", pa.bool_()),
                    ("held", pa.bool_()),
                    ("facts", pa.string()),
                    ("resource", pa.string()),
                ]
            ),
            statistics=("position",),
        ),
        # Every good version ever received, the newest too.
        "silver_history": TableSpec(
            pa.schema([*_VERSION_FIELDS, ("deleted", pa.bool_()), ("resource", pa.string())]),
            partitioned_by=None,
            statistics=("position",),
        ),
        "quarantine": TableSpec(
            pa.schema(
                [
                    (BUCKET, pa.int32()),
                    ("key", pa.string()),
                    *_VERSION_FIELDS,
                    ("deleted", pa.bool_()),
                    ("facts", pa.string()),
                    ("reasons", pa.list_(pa.string())),
                    ("resource", pa.string()),
                ]
            ),
            statistics=("position",),
        ),
        # What the gateway's rules say of each patient. `rules` is JSON; null where they are not
        # understood. `gone`: the Patient is deleted. `changes_ms`: when a term begins or ends next.
        "decisions": TableSpec(
            pa.schema(
                [
                    (BUCKET, pa.int32()),
                    ("patient", pa.string()),
                    ("rules", pa.string()),
                    ("gone", pa.bool_()),
                    ("changes_ms", pa.int64()),
                ]
            ),
            statistics=("changes_ms",),
        ),
        # In which bucket the row of a resource is, by `Type/id`; and in which other buckets a
        # patient has records, by `also:` and id.
        "places": TableSpec(
            pa.schema([(BUCKET, pa.int32()), ("key", pa.string()), ("place", pa.int32())]),
        ),
        "deid": TableSpec(
            pa.schema(
                [
                    (BUCKET, pa.int32()),
                    ("type", pa.string()),
                    ("id", pa.string()),
                    ("patient", pa.string()),
                    ("resource", pa.string()),
                ]
            ),
            statistics=("id",),
        ),
        # What stewards decided about versions in quarantine: an input, replayed by a rebuild.
        "steward_decisions": TableSpec(
            pa.schema([("position", pa.int64()), ("decision", pa.string())]),
            partitioned_by=None,
            statistics=("position",),
        ),
    }
)


@dataclass(frozen=True)
class Lake:
    """The folder of the lake."""

    root: Path

    @property
    def feed_epoch(self) -> Path:
        """Return the file that names the store, and its epoch, whose changes are taken in."""
        return self.root / "feed-epoch.json"

    @property
    def progress_file(self) -> Path:
        """Return the file that tells up to which line every table is brought."""
        return self.root / "progress.json"

    @property
    def lock_file(self) -> Path:
        """Return the file that the one writer locks."""
        return self.root / "writer.lock"

    @property
    def quality_folder(self) -> Path:
        """Return the folder of the quality gate's results."""
        return self.root / "quality"

    @property
    def views_folder(self) -> Path:
        """Return the folder of the ViewDefinitions that users made tables of."""
        return self.root / "views"

    def table_path(self, name: str) -> Path:
        """Return the path of a table, `gold/patient_demographics` or `silver`."""
        return self.root / name

    def has_table(self, name: str) -> bool:
        """Say whether a table was created."""
        return (self.table_path(name) / "_delta_log").is_dir()


def gold_table_name(view_name: str) -> str:
    """Return the name in the lake of a view's table.

    >>> gold_table_name("condition_flat")
    'gold/condition_flat'
    """
    return f"gold/{view_name}"


def read_table(spark: SparkSession, lake: Lake, name: str) -> DataFrame:
    """Read a table of the lake with Spark."""
    return spark.read.format("delta").load(str(lake.table_path(name)))


def read_small_table(lake: Lake, name: str) -> pa.Table:
    """Read a small table without Spark: of a gold table the columns of its view alone."""
    table = pa.table(DeltaTable(str(lake.table_path(name))).to_pyarrow_table())
    own = [column for column in (GOLD_BUCKET, GOLD_KEY) if column in table.column_names]
    return table.drop_columns(own) if own else table


def count_rows(lake: Lake, name: str) -> int:
    """Return how many rows a table has, from Delta's log alone."""
    actions = pa.table(DeltaTable(str(lake.table_path(name))).get_add_actions(flatten=True))
    return int(sum(actions.column("num_records").to_pylist())) if actions.num_rows else 0
