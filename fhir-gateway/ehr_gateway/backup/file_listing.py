"""Listing of the files that a backup copies from the data folder, in the order of copying."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ehr_gateway.settings import GatewaySettings

__all__ = ["EXCLUSIONS", "SCRATCH_FOLDER", "list_files", "list_lake", "walk_files"]

_LAKE_FOLDER = "lake"
# Names in the data folder that are not backed up, each with what the manifest says of it.
EXCLUSIONS = {
    "portal-sessions.db": "the portal's sessions: people log in anew",
    "audit-spool": "the spool: what it held is in the audit log",
    "imports": "files of imports that are under way: they are sent again",
    "spark": "Spark's scratch files",
    "research/exports": "exports of views: their files are for a day, people export anew",
}
# Side files of SQLite databases: locks, and logs whose content the consistent copy includes.
_DATABASE_SIDE_SUFFIXES = ("-wal", "-shm", "-writer", "-journal")
# Where copies of SQLite databases are made during a backup.
SCRATCH_FOLDER = ".backup-copy"


def list_files(settings: GatewaySettings, *, without_lake: bool) -> Iterator[Path]:
    """Yield the files of the data folder except database, keys and audit log; the lake's first."""
    data = settings.data
    excluded = {settings.keys, settings.audit_folder, data / _LAKE_FOLDER, data / SCRATCH_FOLDER}
    excluded |= {data / name for name in EXCLUSIONS}
    if isinstance(settings.database, Path):
        excluded.add(settings.database)
    if not without_lake:
        yield from list_lake(data / _LAKE_FOLDER)
    for path in sorted(data.iterdir()):
        if path not in excluded:
            yield from (file for file in walk_files(path) if excluded.isdisjoint(file.parents))


_WRITTEN_LAST = frozenset({"decisions", "places"})


def list_lake(lake: Path) -> Iterator[Path]:
    """Yield the lake's files: its progress, then the tables' Delta logs, then data files.

    A copy made during a run is like the lake after an interrupted run, which the next run repeats
    from what the progress says; so that is copied first. Where old rows are, and what was decided
    before, is written last by a run, and must not be newer than the other tables.
    """
    paths = list(walk_files(lake))

    def sort_key(path: Path) -> tuple[int, Path]:
        parts = path.relative_to(lake).parts
        if len(parts) == 1:
            return 0, path
        if "_delta_log" in parts:
            return 1 if parts[0] in _WRITTEN_LAST else 2, path
        return 3, path

    yield from sorted(paths, key=sort_key)
    # Files that appeared while the logs were being copied: the logs may refer to them.
    yield from sorted(set(walk_files(lake)) - set(paths))


def walk_files(path: Path) -> Iterator[Path]:
    """Yield the files below a path, sorted, without locks and the side files of databases."""
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            yield from walk_files(child)
    elif path.exists() and not _is_transient(path):
        yield path


def _is_transient(path: Path) -> bool:
    name = path.name
    if name == "lock" or name.endswith((".lock", ".signal", ".partial")):
        return True
    return any(
        name.endswith(suffix) and path.with_name(name.removesuffix(suffix)).exists()
        for suffix in _DATABASE_SIDE_SUFFIXES
    )
