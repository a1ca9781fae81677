"""Upkeep of Delta tables by the writer itself: compaction, old files and old logs deleted."""

from __future__ import annotations

from deltalake import DeltaTable

from ehr_etl.lake import TABLES, Lake

__all__ = ["maintain_table", "table_version"]

# Files of a table without buckets before they are joined: each change adds one. Chosen.
_MOST_FILES = 50


def table_version(lake: Lake, name: str) -> int:
    """Return the version of a table."""
    return DeltaTable(str(lake.table_path(name))).version()


def maintain_table(lake: Lake, name: str, retention_hours: int) -> int:
    """Join small files, delete those that no version of the last hours needs; return the version.

    Readers of an older version than that find its files gone.
    """
    table = DeltaTable(str(lake.table_path(name)))
    spec = TABLES.get(name)
    is_appended = spec is not None and spec.partitioned_by is None
    if is_appended and len(table.file_uris()) > _MOST_FILES:
        table.optimize.compact()
    table.vacuum(retention_hours=retention_hours, dry_run=False, enforce_retention_duration=False)
    table.create_checkpoint()
    table.cleanup_metadata()
    return table.version()
