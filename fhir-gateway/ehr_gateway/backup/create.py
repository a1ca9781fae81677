"""Create a backup while the installation serves, in an order that leaves no dangling reference.

Parts are copied at different moments. Checkpoints of the audit log and positions of the lake refer
to rows of the database, so they are copied before it: a later database has all those rows. Rows
refer to keys, so the keys are copied last.
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
from ehr_gateway.backup.file_listing import EXCLUSIONS, SCRATCH_FOLDER, list_files, walk_files
from ehr_gateway.backup.folder import BackupWriter, StoredContent, open_writer
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
_JOURNAL_EXCLUSION = "the journal: it must lie on another disk than the store and the backups"
_LOCK_FILE = "backup.lock"
# How long to wait for the exported log's lock. Chosen: a minute in all.
_LOCK_TRIES, _LOCK_PAUSE_SECONDS = 600, 0.1


@dataclass(frozen=True)
class BackupPlan:
    """What to back up, into which folder, and encrypted to whose keys."""

    settings: GatewaySettings
    folder: Path
    recipients: tuple[Recipient, ...]
    # Whether to leave out the lake, which can be built again from the change feed.
    without_lake: bool = False
    # The operator's settings that differ from their defaults; for reading, a restore ignores them.
    changed_settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BackupReport:
    """What a backup holds, and how much it added to the folder."""

    manifest: Manifest
    # The number of files, and their total size before compression.
    files: int
    size_bytes: int
    # Encrypted bytes of the pieces that the folder did not have yet.
    written_bytes: int
    # The number of events in the audit log.
    audit_size: int


def create_backup(
    plan: BackupPlan, on_step: Callable[[str], None] = lambda sentence: None
) -> BackupReport:
    """Add a backup to a folder; it is complete and on disk when this returns.

    Raises Conflict if another backup of the installation or to the folder is in progress.
    """
    settings = plan.settings
    _check_folders(plan)
    naming_key = _load_naming_key(settings)
    with (
        _lock_data_folder(settings.data),
        open_writer(plan.folder, plan.recipients, naming_key) as writer,
    ):
        database = open_database(settings.database)
        try:
            log = open_audit_log(settings, database, lambda: time.time_ns() // 1_000_000)
            on_step("Signing for the audit log.")
            # All requests answered so far are in the copy, also of a store of an older version.
            log.sign()
            backup_files = _BackupFiles(writer, settings.data)
            on_step("Copying files.")
            backup_files.store_files(list_files(settings, without_lake=plan.without_lake))
            on_step("Copying the exported audit log.")
            backup_files.store_audit_folder(log, settings.audit_folder)
        finally:
            database.close()
        on_step("Copying the database.")
        copied_at = datetime.now(UTC)
        facts = backup_files.store_database(settings.database)
        backup_files.store_files(walk_files(settings.keys))
        on_step("Putting the backup in place.")
        manifest = writer.commit(
            name=f"{copied_at:%Y%m%dT%H%M%S.%fZ}",
            at=copied_at.isoformat(timespec="milliseconds"),
            contents=_build_contents(plan, facts, backup_files.files).to_bytes(),
            left_out=_list_left_out(plan, backup_files.linked_folders),
            signer=log.signer,
        )
    total_bytes = sum(file.size for file in backup_files.files)
    return BackupReport(
        manifest, len(backup_files.files), total_bytes, writer.written_bytes, facts.audit_size
    )


def _check_folders(plan: BackupPlan) -> None:
    data = plan.settings.data
    if not data.is_dir():
        raise NotFound(f"There is no data folder {data}.")
    if plan.folder.resolve().is_relative_to(data.resolve()):
        raise Unavailable("A backup inside the data folder would be lost with it: choose another.")


def _build_contents(plan: BackupPlan, facts: StoreFacts, files: Iterable[StoredFile]) -> Contents:
    settings = plan.settings
    return Contents(
        database="sqlite" if isinstance(settings.database, Path) else "postgresql",
        store=facts.store,
        epoch=facts.epoch,
        position=facts.position,
        audit_size=facts.audit_size,
        journal_number=facts.journal_number,
        journal=str(settings.journal_folder.resolve()),
        settings=plan.changed_settings,
        files=tuple(files),
    )


def _list_left_out(plan: BackupPlan, linked_folders: Iterable[str]) -> list[str]:
    """List what the backup does not hold, a phrase each, for the manifest."""
    left_out = [*EXCLUSIONS.values(), _JOURNAL_EXCLUSION, *linked_folders]
    if plan.without_lake:
        left_out.append("the lake: `ehr lake run` reads it from the feed again")
    return left_out


@dataclass
class _BackupFiles:
    """The files of a backup in progress: stores them as pieces and lists them."""

    writer: BackupWriter
    data: Path
    files: list[StoredFile] = field(default_factory=list)
    # Symbolic links to folders, whose content is not backed up.
    linked_folders: list[str] = field(default_factory=list)

    def store_files(self, paths: Iterable[Path]) -> None:
        """Store files of the data folder; SQLite databases among them by a consistent copy."""
        for path in paths:
            name = str(path.relative_to(self.data))
            if path.is_symlink() and path.is_dir():
                self.linked_folders.append(f"the linked folder {name}")
            elif is_sqlite(path):
                with copy_sqlite(path, self.data / SCRATCH_FOLDER) as copy:
                    self._store_path(name, copy)
            else:
                self._store_path(name, path)

    def store_audit_folder(self, log: AuditLog, folder: Path) -> None:
        """Store the exported audit log, under its lock, as `audit-log` wherever the folder is."""
        for _ in range(_LOCK_TRIES):
            with log.folder.try_lock() as acquired:
                if not acquired:
                    time.sleep(_LOCK_PAUSE_SECONDS)
                    continue
                for path in walk_files(folder):
                    self._store_path(f"audit-log/{path.relative_to(folder)}", path)
                return
        raise Unavailable("The audit log is being signed for all the time. Try again.")

    def store_database(self, database: Path | str) -> StoreFacts:
        """Store a snapshot of the database; return the store's identity and positions in it."""
        if isinstance(database, str):
            with dump_postgresql(database) as (output, facts):
                self._add_file(DATABASE_DUMP, 0o600, self.writer.store_file(output))
            return facts
        with copy_sqlite(database, self.data / SCRATCH_FOLDER) as copy:
            facts = read_sqlite_facts(copy)
            self._store_path("ehr.db", copy)
        return facts

    def _store_path(self, name: str, path: Path) -> None:
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode & 0o777
                self._add_file(name, mode, self.writer.store_file(file))
        except FileNotFoundError:
            # Removed since it was listed, as by the lake's vacuum: no copied file refers to it.
            pass

    def _add_file(self, name: str, mode: int, content: StoredContent) -> None:
        stored = StoredFile(name, mode, content.size, content.sha256, content.pieces)
        self.files.append(stored)


@contextmanager
def _lock_data_folder(data: Path) -> Iterator[None]:
    """Lock a data folder against other backups: all use the same scratch folder in it."""
    with (data / _LOCK_FILE).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"Another backup of {data} is under way.") from None
        yield


def _load_naming_key(settings: GatewaySettings) -> bytes:
    path = settings.keys / "backup.key"
    if not path.exists():
        create_private_file(path, os.urandom(32))
    return path.read_bytes()
