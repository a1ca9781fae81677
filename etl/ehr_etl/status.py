"""Where a lake is: how far its tables follow the feed, and their sizes."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_etl.gold.promotion import HeldPromotion, list_held_promotions
from ehr_etl.lake import Lake, count_rows
from ehr_etl.maintenance import list_files_in_use
from ehr_etl.progress import load_progress
from ehr_etl.tables.bronze import stored_cursor
from ehr_etl.upkeep import iterate_tables

__all__ = ["LakeStatus", "TableStatus", "read_status"]


@dataclass(frozen=True)
class TableStatus:
    """A table: its rows, its files in use, and the bytes of all its files on disk."""

    table: str
    version: int
    rows: int
    files: int
    bytes_in_use: int
    bytes_on_disk: int


@dataclass(frozen=True)
class LakeStatus:
    """How far the feed is read, how many lines of it wait to be applied, and the tables."""

    position: int
    decision: int
    lines_received: int
    lines_waiting: int
    buckets: int
    tables: tuple[TableStatus, ...]
    # Records of gold tables that are kept at their last good rows.
    held_promotions: tuple[HeldPromotion, ...] = ()


def read_status(lake: Lake) -> LakeStatus:
    """Read the status of a lake, while it is written or not."""
    progress, cursor = load_progress(lake), stored_cursor(lake)
    return LakeStatus(
        position=cursor.position,
        decision=cursor.decision,
        lines_received=cursor.sequence,
        lines_waiting=cursor.sequence - progress.sequence,
        buckets=progress.buckets,
        tables=tuple(_read_table(lake, name) for name in iterate_tables(lake)),
        held_promotions=list_held_promotions(lake),
    )


def _read_table(lake: Lake, name: str) -> TableStatus:
    table = lake.open_table(name)
    sizes = list_files_in_use(table).values()
    on_disk = sum(info.size or 0 for info in lake.list_files(name))
    return TableStatus(name, table.version(), count_rows(lake, name), len(sizes), sum(sizes),
                       on_disk)  # fmt: skip
