"""Upkeep of all tables of a lake: maintenance of each that changed or still has old files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ehr_etl.gold.notes import NOTES_TABLE, has_notes
from ehr_etl.gold.tables import list_gold_views
from ehr_etl.lake import GOLD_BUCKET, TABLES, Lake, gold_table_name
from ehr_etl.maintenance import (
    delete_old_files,
    load_old_files,
    maintain_table,
    save_old_files,
    table_version,
)
from ehr_etl.omop.writer import list_omop_tables
from ehr_etl.rebuild.scratch import clear_scratch
from ehr_etl.work_folder import clear_work_folders

__all__ = [
    "Upkeep",
    "clear_leftovers",
    "drop_abandoned_tables",
    "iterate_tables",
    "maintain_tables",
]


@dataclass(frozen=True)
class Upkeep:
    """Which tables had their maintenance, and which version each table has after it."""

    tables: tuple[str, ...]
    versions: Mapping[str, int]


def iterate_tables(lake: Lake) -> Iterator[str]:
    """Yield the tables that the lake keeps up to date and that there are."""
    views = map(gold_table_name, list_gold_views(lake))
    names = [*TABLES, *views, NOTES_TABLE, *list_omop_tables()]
    return filter(lake.has_table, names)


def drop_abandoned_tables(lake: Lake) -> None:
    """Delete gold tables that no view makes any more, and what is left of half-deleted ones.

    A process that was killed before it kept a view's definition, or after it dropped one, leaves a
    table that no run follows: whoever leaves the lake would stay in it. Tables without the lake's
    buckets are another program's, and stay.
    """
    kept = set(map(gold_table_name, list_gold_views(lake)))
    if has_notes(lake):
        kept.add(NOTES_TABLE)
    for name in map(gold_table_name, lake.list_folders("gold")):
        if name not in kept and _is_in_buckets(lake, name):
            lake.delete_table(name)


def _is_in_buckets(lake: Lake, name: str) -> bool:
    """Say whether all data files of a gold table lie in folders of buckets, as the lake's do."""
    _, root = lake.open_storage()
    paths = (info.path.removeprefix(f"{root}{name}/") for info in lake.list_files(name))
    return all(path.startswith((f"{GOLD_BUCKET}=", "_delta_log/")) for path in paths)


def clear_leftovers(lake: Lake) -> None:
    """Delete what processes that were killed left beside the tables."""
    clear_scratch(lake)
    clear_work_folders(lake)
    drop_abandoned_tables(lake)


def maintain_tables(
    lake: Lake,
    before: Mapping[str, int],
    *,
    retention_hours: int,
    now_ms: int,
    is_thorough: bool,
    is_first: bool = False,
) -> Upkeep:
    """Maintain the tables; `before` has the version of each after its last thorough maintenance.

    A table that is as it was then, with no old file, is left alone. Upkeep that is not thorough
    deletes old files alone: it costs some hundredths of a second. The first of a process looks for
    files in every table: one that was killed may have left them in a table without a new version.
    """
    if is_thorough:
        clear_scratch(lake)
    work = maintain_table if is_thorough else delete_old_files
    old = load_old_files(lake)
    versions, left, changed = {}, {}, []
    for name in iterate_tables(lake):
        if old.get(name) or table_version(lake, name) != before.get(name):
            left[name] = work(
                lake,
                name,
                old.get(name, {}),
                retention_hours=retention_hours,
                now_ms=now_ms,
            )
            changed.append(name)
            if not is_thorough:
                versions[name] = before.get(name, -1)
                continue
        elif is_first:
            left[name] = delete_old_files(
                lake, name, {}, retention_hours=retention_hours, now_ms=now_ms
            )
        versions[name] = table_version(lake, name)
    if changed or any(left.values()):
        save_old_files(lake, {name: files for name, files in left.items() if files})
    return Upkeep(tuple(changed), versions)
