"""Back up an installation while it serves, in an order in which nothing refers to what is missing.

The audit log signs for no row that the database lacks, the lake has read no position that the
database lacks, and each key that a row needs is there: so the exported log and the lake come before
the database, the keys after it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ehr_fhir.errors import Conflict, NotFound, Unavailable
from ehr_gateway.audit_log.service import AuditLog, open_audit_log
from ehr_gateway.backup.folder import BackupWriter, open_writer
from ehr_gateway.backup.manifest import Contents, Manifest, StoredFile
from ehr_gateway.backup.sealing import Recipient
from ehr_gateway.backup.snapshots import (
    StoreFacts,
    copy_sqlite,
    dump_postgresql,
    is_sqlite,
    read_sqlite_facts,
)
from ehr_gateway.database import open_database
from ehr_gateway.private_file import create_private_file
from ehr_gateway.settings import GatewaySettings

__all__ = ["DATABASE_DUMP", "BackupPlan", "BackupReport", "create_backup"]

DATABASE_DUMP = "database.dump"
_LAKE_FOLDER = "lake"
# What is made anew, or of no use to another process.
_EXCLUSIONS = {
    "portal-sessions.db": "the portal's sessions: people log in anew",
    "audit-spool": "the spool: what it held is in the audit log",
    "spark": "Spark's scratch files",
}
_JOURNAL_EXCLUSION = "the journal: it must lie on another disk than the store and the backups"
_DATABASE_SIDE_SUFFIXES = ("-wal", "-shm", "-writer", "-journal")
_SCRATCH_FOLDER = ".backup-copy"
_LOCK_FILE = "backup.lock"
_LOCK_TRIES, _LOCK_PAUSE_S = 600, 0.1


@dataclass(frozen=True)
class BackupPlan:
    """What to back up, where to, and for whose eyes."""

    settings: GatewaySettings
    folder: Path
    recipients: tuple[Recipient, ...]
    # Whether derived data is left out: it can be read from the feed again.
    without_lake: bool = False
    # As the operator has them; kept for reading, never applied.
    chosen_settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BackupReport:
    """What a backup holds, and what it cost."""

    manifest: Manifest
    files: int
    size_bytes: int
    # Sealed bytes that were not in the folder already.
    written_bytes: int
    audit_size: int


def create_backup(
    plan: BackupPlan, on_step: Callable[[str], None] = lambda sentence: None
) -> BackupReport:
    """Make one more backup in a folder; it is complete and on disk when this returns."""
    settings = plan.settings
    if not settings.data.is_dir():
        raise NotFound(f"There is no data folder {settings.data}.")
    if plan.folder.resolve().is_relative_to(settings.data.resolve()):
        raise Unavailable("A backup inside the data folder would be lost with it: choose another.")
    naming_key = _load_naming_key(settings)
    with (
        _lock_data_folder(settings.data),
        open_writer(plan.folder, plan.recipients, naming_key) as writer,
    ):
        database = open_database(settings.database)
        try:
            log = open_audit_log(settings, database, lambda: time.time_ns() // 1_000_000)
            on_step("Signing for the audit log.")
            # All that was answered before this backup began is in the database from here on.
            log.spool.flush()
            log.flush_and_sign()
            run = _BackupFiles(writer, settings.data)
            on_step("Copying files.")
            run.store_files(_list_files(settings, without_lake=plan.without_lake))
            on_step("Copying the exported audit log.")
            run.store_audit_folder(log, settings.audit_folder)
        finally:
            database.close()
        on_step("Copying the database.")
        at = datetime.now(UTC)
        facts = run.store_database(settings.database)
        run.store_files(_walk_files(settings.data, settings.keys))
        contents = Contents(
            database="sqlite" if isinstance(settings.database, Path) else "postgresql",
            store=facts.store,
            epoch=facts.epoch,
            position=facts.position,
            audit_size=facts.audit_size,
            journal_number=facts.journal_number,
            journal=str(settings.journal_folder.resolve()),
            settings=plan.chosen_settings,
            files=tuple(run.files),
        )
        on_step("Putting the backup in place.")
        left_out = [*_EXCLUSIONS.values(), _JOURNAL_EXCLUSION, *run.left_out]
        if plan.without_lake:
            left_out.append("the lake: `ehr lake run` reads it from the feed again")
        manifest = writer.commit(
            name=f"{at:%Y%m%dT%H%M%S.%fZ}",
            at=at.isoformat(timespec="milliseconds"),
            contents=contents.to_bytes(),
            left_out=left_out,
            signer=log.signer,
        )
    size = sum(file.size for file in run.files)
    return BackupReport(manifest, len(run.files), size, writer.written_bytes, facts.audit_size)


@dataclass
class _BackupFiles:
    """The files of one backup, as they are stored."""

    writer: BackupWriter
    data: Path
    files: list[StoredFile] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def store_files(self, paths: Iterable[Path]) -> None:
        """Store files of the data folder; databases among them by a copy of one instant."""
        for path in paths:
            name = str(path.relative_to(self.data))
            if path.is_symlink() and path.is_dir():
                self.left_out.append(f"the linked folder {name}")
            elif is_sqlite(path):
                with copy_sqlite(path, self.data / _SCRATCH_FOLDER) as copy:
                    self._store(name, copy)
            else:
                self._store(name, path)

    def store_audit_folder(self, log: AuditLog, folder: Path) -> None:
        """Store the exported audit log while nobody signs; wherever it lies, it is named alike."""
        for _ in range(_LOCK_TRIES):
            with log.folder.try_lock() as mine:
                if not mine:
                    time.sleep(_LOCK_PAUSE_S)
                    continue
                for path in _walk_files(folder, folder):
                    self._store(f"audit-log/{path.relative_to(folder)}", path)
                return
        raise Unavailable("The audit log is being signed for all the time. Try again.")

    def store_database(self, database: Path | str) -> StoreFacts:
        """Store the database as it is at one instant; return what it says of itself."""
        if isinstance(database, str):
            with dump_postgresql(database) as (output, facts):
                self._add(DATABASE_DUMP, 0o600, *self.writer.store(output))
            return facts
        with copy_sqlite(database, self.data / _SCRATCH_FOLDER) as copy:
            facts = read_sqlite_facts(copy)
            self._store("ehr.db", copy)
        return facts

    def _store(self, name: str, path: Path) -> None:
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode & 0o777
                self._add(name, mode, *self.writer.store(file))
        except FileNotFoundError:
            # Removed meanwhile, as the lake's own clearing does: nothing that is copied names it.
            pass

    def _add(self, name: str, mode: int, pieces: tuple[str, ...], size: int, sha256: str) -> None:
        self.files.append(StoredFile(name, mode, size, sha256, pieces))


@contextmanager
def _lock_data_folder(data: Path) -> Iterator[None]:
    """Keep other backups of a data folder out: their copies of databases lie in one place."""
    with (data / _LOCK_FILE).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"Another backup of {data} is under way.") from None
        yield


def _list_files(settings: GatewaySettings, *, without_lake: bool) -> Iterator[Path]:
    """Yield what stands in the data folder but database, keys and audit log; the lake first."""
    data = settings.data
    apart = {settings.keys, settings.audit_folder, data / _LAKE_FOLDER, data / _SCRATCH_FOLDER}
    apart |= {data / name for name in _EXCLUSIONS}
    if isinstance(settings.database, Path):
        apart.add(settings.database)
    if not without_lake:
        yield from _list_lake(data / _LAKE_FOLDER)
    for path in sorted(data.iterdir()):
        if path not in apart:
            yield from _walk_files(data, path)


def _list_lake(lake: Path) -> Iterator[Path]:
    """Yield the lake's files: where its streams are, then its tables' logs, then what they name.

    Copied while a run is at work it is the lake of a run that was interrupted, which the next run
    puts right: a stream that is behind its table repeats a batch, and the table knows it.
    """
    paths = list(_walk_files(lake, lake))

    def order(path: Path) -> tuple[int, Path]:
        parts = path.relative_to(lake).parts
        step = 0 if parts[0] == "checkpoints" else 1 if "_delta_log" in parts else 2
        return step, path

    yield from sorted(paths, key=order)
    # What came while the logs were copied: they may name it.
    yield from sorted(set(_walk_files(lake, lake)) - set(paths))


def _walk_files(root: Path, path: Path) -> Iterator[Path]:
    """Yield the files below a path, in order, without locks and what databases keep beside them."""
    if path.is_dir() and not path.is_symlink():
        for below in sorted(path.iterdir()):
            yield from _walk_files(root, below)
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


def _load_naming_key(settings: GatewaySettings) -> bytes:
    path = settings.keys / "backup.key"
    if not path.exists():
        create_private_file(path, os.urandom(32))
    return path.read_bytes()
