"""Registry of the lake's tables (path, columns, layout), and reading them.

The tables are in a folder or in an object store (S3 or another that delta-rs knows), and are
reached by delta-rs alone. The few small files of the one writer are in a folder of its machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import DeltaTable

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BUCKET = "bucket"
# Columns of gold tables that belong to the lake and to no view: by the first two rows are found
# again, by the others a project's form of dates is worked out.
GOLD_BUCKET, GOLD_KEY, GOLD_PATIENT, GOLD_EPISODE = "_bucket", "_key", "_patient", "_episode"
# They are these columns of deid.
GOLD_CARRIED = MappingProxyType(
    {BUCKET: GOLD_BUCKET, "id": GOLD_KEY, "patient": GOLD_PATIENT, "episode": GOLD_EPISODE}
)

# Checkpoints keep the log short to read, and what they replace is deleted: at a change a second the
# log of a day would be larger than a small lake, and a checkpoint would name every file that was
# ever replaced. Who has a version open needs no log; the lake's own upkeep deletes old files.
LOG_PROPERTIES: Mapping[str, str] = MappingProxyType(
    {
        "delta.checkpointInterval": "50",
        "delta.logRetentionDuration": "interval 1 minutes",
        "delta.deletedFileRetentionDuration": "interval 1 minutes",
        "delta.enableExpiredLogCleanup": "true",
    }
)

# What tells of a version, in every table that has versions.
VERSION_FIELDS = (
    ("position", pa.int64()),
    ("type", pa.string()),
    ("id", pa.string()),
    ("version", pa.int32()),
    ("last_updated", pa.string()),
    ("author", pa.string()),
)
VERSION_COLUMNS = tuple(name for name, _ in VERSION_FIELDS)


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
        # `faults`: the rules that it breaks beside other records, or that hold nothing back.
        # `facts` is JSON; null where the gateway told none, so that nothing can be decided.
        "silver": TableSpec(
            pa.schema(
                [
                    (BUCKET, pa.int32()),
                    *VERSION_FIELDS,
                    ("deleted", pa.bool_()),
                    ("held", pa.bool_()),
                    ("faults", pa.list_(pa.string())),
                    ("facts", pa.string()),
                    ("resource", pa.string()),
                ]
            ),
            statistics=("position",),
        ),
        # Every good version ever received, the newest too.
        "silver_history": TableSpec(
            pa.schema([*VERSION_FIELDS, ("deleted", pa.bool_()), ("resource", pa.string())]),
            partitioned_by=None,
            statistics=("position",),
        ),
        "quarantine": TableSpec(
            pa.schema(
                [
                    (BUCKET, pa.int32()),
                    ("key", pa.string()),
                    *VERSION_FIELDS,
                    ("deleted", pa.bool_()),
                    ("facts", pa.string()),
                    ("reasons", pa.list_(pa.string())),
                    ("elements", pa.list_(pa.string())),
                    ("resource", pa.string()),
                ]
            ),
            statistics=("position",),
        ),
        # Which rows of silver have faults, and in which elements: what silver's `faults` says, so
        # that nobody reads silver to find them.
        "findings": TableSpec(
            pa.schema(
                [
                    (BUCKET, pa.int32()),
                    ("key", pa.string()),
                    *VERSION_FIELDS,
                    ("reasons", pa.list_(pa.string())),
                    ("elements", pa.list_(pa.string())),
                ]
            ),
            statistics=("position",),
        ),
        # Who else bears an identifier, or name, birth date and sex: by `of:` and a keyed hash the
        # patient and whom their record links to; by `patient:` and id the hashes of a patient.
        "identities": TableSpec(
            pa.schema(
                [
                    (BUCKET, pa.int32()),
                    ("key", pa.string()),
                    ("patient", pa.string()),
                    ("others", pa.list_(pa.string())),
                ]
            ),
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
                    # The id of its encounter, or its own.
                    ("episode", pa.string()),
                    ("resource", pa.string()),
                ]
            ),
            statistics=("id",),
        ),
        # What the checks found over time: of silver by provider (`origin`), of versions that came
        # since the check before; of a gold table whole. `check` is empty where all are counted.
        "quality_scores": TableSpec(
            pa.schema(
                [
                    ("at_ms", pa.int64()),
                    ("table", pa.string()),
                    ("origin", pa.string()),
                    ("check", pa.string()),
                    ("evaluated", pa.int64()),
                    ("unexpected", pa.int64()),
                ]
            ),
            partitioned_by=None,
            statistics=("at_ms",),
        ),
        # What stewards decided at the gateway about versions with faults: `release`, `reject` or
        # `send-back`. An input, told by the feed.
        "steward_decisions": TableSpec(
            pa.schema(
                [
                    (BUCKET, pa.int32()),
                    ("key", pa.string()),
                    ("version", pa.int32()),
                    ("decision", pa.string()),
                ]
            ),
        ),
    }
)


@dataclass(frozen=True)
class Lake:
    """The folder of the lake, and where its tables are if not in that folder."""

    root: Path
    # Such as `s3://bucket/lake`.
    tables_url: str = ""
    # What delta-rs needs to reach it, such as AWS_ENDPOINT_URL; secrets are not shown.
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    # Tables that a writer keeps open between its commits (`keep_tables_open`).
    _kept: dict[str, DeltaTable] | None = field(default=None, repr=False, compare=False)

    @property
    def feed_epoch(self) -> Path:
        """Return the file that names the store, and its epoch, whose changes are taken in."""
        return self.root / "feed-epoch.json"

    @property
    def progress_file(self) -> Path:
        """Return the file that tells up to which line every table is brought."""
        return self.root / "progress.json"

    @property
    def lineage_file(self) -> Path:
        """Return the file that tells which versions of the tables are on record."""
        return self.root / "lineage.json"

    @property
    def old_files_file(self) -> Path:
        """Return the file that tells since when files of the tables are old."""
        return self.root / "old-files.json"

    @property
    def lock_file(self) -> Path:
        """Return the file that the one writer locks."""
        return self.root / "writer.lock"

    @property
    def promotions_file(self) -> Path:
        """Return the file that names the records held back from gold."""
        return self.root / "promotions.json"

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

    def table_url(self, name: str) -> str:
        """Return where delta-rs finds a table: a path, or an address in an object store."""
        return f"{self.tables_url}/{name}" if self.tables_url else str(self.table_path(name))

    def has_table(self, name: str) -> bool:
        """Say whether a table was created: its log has an entry that is not half written."""
        if self.tables_url:
            return DeltaTable.is_deltatable(self.table_url(name), dict(self.storage_options))
        try:
            with os.scandir(self.table_path(name) / "_delta_log") as files:
                return any(file.name.endswith((".json", ".parquet")) for file in files)
        except FileNotFoundError:
            return False

    def open_table(self, name: str) -> DeltaTable:
        """Open the newest version of a table."""
        if self._kept is not None and name in self._kept:
            table = self._kept[name]
            table.update_incremental()
            return table
        table = DeltaTable(self.table_url(name), storage_options=dict(self.storage_options))
        if self._kept is not None:
            self._kept[name] = table
        return table

    def keep_tables_open(self) -> Lake:
        """Return the same lake, whose tables are opened once and then read on in their logs.

        For a writer that commits to a table again and again: to open it costs 5 ms of processor
        time, to read on 1 ms. Logs that are shortened or rewritten meanwhile ask for a new one.
        """
        return replace(self, _kept={})

    def write_file(self, path: str, content: Any) -> None:  # Any: a pyarrow Buffer
        """Write a file of the tables' storage, whole; `path` begins at their root."""
        filesystem, root = self.open_storage()
        filesystem.create_dir(f"{root}{path.rpartition('/')[0]}", recursive=True)
        with filesystem.open_output_stream(f"{root}{path}") as out:
            out.write(content)

    def list_files(self, name: str) -> list[Any]:  # Any: pyarrow ships no types
        """Return what the storage says of each file of a table, old ones and the log too."""
        import pyarrow.fs

        filesystem, root = self.open_storage()
        selector = pyarrow.fs.FileSelector(f"{root}{name}", recursive=True, allow_not_found=True)
        return [info for info in filesystem.get_file_info(selector) if info.is_file]

    def list_folders(self, name: str) -> list[str]:
        """Return the names of the folders in a folder of tables, such as `gold`."""
        import pyarrow.fs

        filesystem, root = self.open_storage()
        infos = filesystem.get_file_info(
            pyarrow.fs.FileSelector(f"{root}{name}", allow_not_found=True)
        )
        return sorted(info.base_name for info in infos if not info.is_file)

    def delete_table(self, name: str) -> None:
        """Delete a table with all its files, also what is left of one that was half deleted."""
        if self._kept is not None:
            self._kept.pop(name, None)
        parent, _, own_name = name.rpartition("/")
        if own_name in self.list_folders(parent):
            filesystem, root = self.open_storage()
            filesystem.delete_dir(f"{root}{name}")

    def open_storage(self) -> tuple[Any, str]:  # Any: pyarrow ships no types
        """Return the file system that the tables are in, and the beginning of every path in it."""
        import pyarrow.fs

        if not self.tables_url:
            return pyarrow.fs.LocalFileSystem(), f"{self.root}/"
        from ehr_etl.object_storage import ObjectStorage

        handler = ObjectStorage(self.tables_url, dict(self.storage_options))
        return pyarrow.fs.PyFileSystem(handler), ""


def gold_table_name(view_name: str) -> str:
    """Return the name in the lake of a view's table.

    >>> gold_table_name("condition_flat")
    'gold/condition_flat'
    """
    return f"gold/{view_name}"


def read_table(spark: SparkSession, lake: Lake, name: str) -> DataFrame:
    """Read a table of the lake with Spark."""
    return spark.read.format("delta").load(lake.table_url(name))


def read_small_table(lake: Lake, name: str) -> pa.Table:
    """Read a small table without Spark: of a gold table the columns of its view alone."""
    table = pa.table(lake.open_table(name).to_pyarrow_table())
    own = [column for column in GOLD_CARRIED.values() if column in table.column_names]
    return table.drop_columns(own) if own else table


def count_rows(lake: Lake, name: str) -> int:
    """Return how many rows a table has, from Delta's log alone."""
    actions = pa.table(lake.open_table(name).get_add_actions(flatten=True))
    return int(sum(actions.column("num_records").to_pylist())) if actions.num_rows else 0
