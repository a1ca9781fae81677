"""Upkeep of Delta tables by the writer itself: small files joined, old files and logs deleted.

Each change writes the files of its buckets anew, so what is old grows with the changes and not with
the tables. A file that the newest version does not need is noted when it is first seen, and deleted
when readers who began before are done: after the time that is set or, where old files take more
room than the table itself, after seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

import orjson
from deltalake import DeltaTable

from ehr_etl.atomic_files import replace_file
from ehr_etl.lake import LOG_PROPERTIES, TABLES, Lake

__all__ = [
    "delete_old_files",
    "list_files_in_use",
    "load_old_files",
    "maintain_table",
    "save_old_files",
    "table_version",
]

# Files of a table without buckets before they are joined: each change adds one. Chosen.
_MOST_FILES = 50
# First files below the one size are joined, and when those are many, up to the other: otherwise
# each upkeep would write the whole table anew. Chosen.
_JOINED_BYTES = (1024 * 1024, 64 * 1024 * 1024)
# How long a reader may take where old files are more than the table: that is a small table, which
# is read in less than a second. Chosen.
_SHORT_GRACE_MS = 10_000
_HOUR_MS = 3_600_000

# When each old file of a table was first seen to be one, by its path.
OldFiles = Mapping[str, int]


def table_version(lake: Lake, name: str) -> int:
    """Return the version of a table."""
    return int(lake.open_table(name).version())


def maintain_table(
    lake: Lake, name: str, old: OldFiles, *, retention_hours: int, now_ms: int
) -> OldFiles:
    """Join small files, delete old ones and old logs; return the old files that are left.

    Readers of an older version than that find its files gone.
    """
    _join_small_files(lake, name)
    left = delete_old_files(lake, name, old, retention_hours=retention_hours, now_ms=now_ms)
    table = lake.open_table(name)
    configured = table.metadata().configuration
    if any(configured.get(key) != value for key, value in LOG_PROPERTIES.items()):
        table.alter.set_table_properties(dict(LOG_PROPERTIES))
    table.create_checkpoint()
    table.cleanup_metadata()
    return left


def load_old_files(lake: Lake) -> dict[str, OldFiles]:
    """Return the old files that the last upkeep left, by table."""
    if not lake.old_files_file.exists():
        return {}
    content: dict[str, OldFiles] = orjson.loads(lake.old_files_file.read_bytes())
    return content


def save_old_files(lake: Lake, old: Mapping[str, OldFiles]) -> None:
    """Keep which files are old; lost, they only stay for longer."""
    replace_file(lake.old_files_file, orjson.dumps(old, option=orjson.OPT_SORT_KEYS))


def _join_small_files(lake: Lake, name: str) -> None:
    spec = TABLES.get(name)
    if spec is None or spec.partitioned_by is not None:
        return
    for target in _JOINED_BYTES:
        if len(lake.open_table(name).file_uris()) > _MOST_FILES:
            lake.open_table(name).optimize.compact(target_size=target)


def delete_old_files(
    lake: Lake, name: str, old: OldFiles, *, retention_hours: int, now_ms: int
) -> OldFiles:
    """Delete the files that no reader needs any more; return the old files that are left."""
    filesystem, root = lake.open_storage()
    prefix = f"{root}{name}/"
    needed = list_files_in_use(lake.open_table(name))
    old_bytes = 0
    first_seen: dict[str, int] = {}
    for info in lake.list_files(name):
        path = info.path.removeprefix(prefix)
        if path.startswith("_delta_log/") or path in needed:
            continue
        first_seen[path] = old.get(path, now_ms)
        old_bytes += info.size or 0
    live_bytes = sum(needed.values())
    grace = retention_hours * _HOUR_MS
    if old_bytes > live_bytes:
        grace = min(grace, _SHORT_GRACE_MS)
    due = {path for path, seen in first_seen.items() if seen + grace <= now_ms}
    for path in due:
        filesystem.delete_file(f"{prefix}{path}")
    return {path: seen for path, seen in first_seen.items() if path not in due}


def list_files_in_use(table: DeltaTable) -> dict[str, int]:
    """Return the paths of the files that a table's opened version has, with their bytes."""
    actions = table.get_add_actions(flatten=True)
    if not actions.num_rows:
        return {}
    # Delta's log has them as parts of an address.
    paths = map(unquote, actions.column("path").to_pylist())
    return dict(zip(paths, actions.column("size_bytes").to_pylist(), strict=True))
