"""Restore a backup: verify it, build it in a staging folder, revoke old access, then rename.

The data folder gets its name last, so an interrupted restore leaves none that a server could open.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from ehr_fhir.errors import Conflict, EhrError, Invalid, Unprocessable
from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.backup.audit_tail import PreviousLog, read_journal_number
from ehr_gateway.backup.folder import BackupFolder, sync_folder
from ehr_gateway.backup.journal_recovery import install_journal
from ehr_gateway.backup.manifest import Contents, Manifest, StoredFile
from ehr_gateway.backup.post_restore import RestoredState, secure_restored_store
from ehr_gateway.backup.sealing import Identity, open_sealed
from ehr_gateway.backup.staged_database import staged_database
from ehr_gateway.migrations.upgrade import Progress, upgrade
from ehr_gateway.settings import GatewaySettings
from ehr_privacy.audit import public_key

__all__ = ["SETTINGS_FILE", "RestorePlan", "RestoreReport", "restore_backup"]

# The settings of the installation that was backed up, for the operator to compare.
SETTINGS_FILE = "settings-of-backup.json"


@dataclass(frozen=True)
class RestorePlan:
    """What to restore, with which private key, and to which installation."""

    folder: Path
    identity: Identity
    # The new data folder and, for PostgreSQL, the new database.
    settings: GatewaySettings
    # The backup's name; None for the newest.
    name: str | None = None
    # A verifier key kept elsewhere. Without it the backup's own is used, which proves that the
    # backup is unchanged, but not who made it.
    verifier: Path | None = None
    # The journal's folder; None for those of the settings and of the backed-up installation.
    journal: Path | None = None
    # The audit log of the installation that is replaced, as far as it still exists.
    previous_log: PreviousLog = field(default_factory=PreviousLog)
    # Called with the staging folder and the patients that were erased since the backup: takes them
    # out of what is not the store's, such as the lake. Without it none of that is known.
    erase_elsewhere: Callable[[Path, Sequence[str]], None] = lambda folder, patients: None


@dataclass(frozen=True)
class RestoreReport:
    """What was restored, and the outcome of the post-restore steps."""

    manifest: Manifest
    # The number of files.
    files: int
    state: RestoredState


def restore_backup(
    plan: RestorePlan, on_step: Callable[[str], None] = lambda sentence: None
) -> RestoreReport:
    """Restore a backup into a new data folder, completely or not at all.

    Raises Unprocessable if the backup is damaged or not signed by the verifier key, Conflict if the
    data folder is not empty, Unauthorized if the private key does not open the backup.
    """
    data, database_url = plan.settings.data, plan.settings.database_url
    folder = BackupFolder(plan.folder)
    manifest = folder.read_manifest(plan.name)
    _check_data_folder(data)
    on_step(f"Verifying the backup {manifest.name}.")
    folder.check_signature(manifest, _read_verifier_key(plan, folder, manifest))
    folder.verify(manifest)
    contents = Contents.from_bytes(open_sealed(folder.read_contents(manifest), plan.identity))
    _check_database(contents, database_url)
    staging = data.with_name(f".{data.name}.restoring")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True, mode=0o700)
    try:
        on_step(f"Writing {len(contents.files):,} files.")
        for file in contents.files:
            _restore_file(plan, folder, manifest, file, staging / file.path)
        _write_settings(contents, staging / SETTINGS_FILE)
        with staged_database(staging, database_url, on_step) as staged_url:
            staged = replace(plan.settings, data=staging, database_url=staged_url, audit_log=None)
            upgrade(staged.database, _upgrade_report(on_step))
            on_step("Ending sessions and tokens; closing what was closed since.")
            state = secure_restored_store(
                staged,
                contents,
                manifest,
                journal_folders=_list_journal_folders(plan, contents),
                known_entry_number=_find_known_entry_number(plan, folder, manifest, contents),
                previous_log=_collect_previous_log(plan),
                now_ms=_now_ms(),
            )
            if state.erased:
                on_step("Erasing again who was erased since.")
                plan.erase_elsewhere(staging, state.erased)
            _sync_tree(staging)
            _place_audit_folder(staging / "audit-log", plan.settings.audit_log)
            install_journal(state.journal, plan.settings.journal_folder, state.epoch.store)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    if data.exists():
        data.rmdir()
    staging.rename(data)
    sync_folder(data.parent)
    return RestoreReport(manifest, len(contents.files), state)


def _list_journal_folders(plan: RestorePlan, contents: Contents) -> list[Path]:
    if plan.journal is not None:
        return [plan.journal]
    recorded = [Path(contents.journal)] if contents.journal else []
    return [plan.settings.journal_folder, *recorded]


def _find_known_entry_number(
    plan: RestorePlan, folder: BackupFolder, manifest: Manifest, contents: Contents
) -> int:
    """Return the number of the newest journal entry that is known to have been written.

    This and later backups of the folder know it, and the database that is replaced. A journal
    without it was truncated. A later backup that cannot be read is ignored.
    """
    replaced = read_journal_number(plan.previous_log, contents.store)
    entry_number = max(contents.journal_number, replaced)
    for name in folder.list_names():
        if name > manifest.name:
            with suppress(EhrError):
                sealed = folder.read_contents(folder.read_manifest(name))
                later = Contents.from_bytes(open_sealed(sealed, plan.identity))
                if later.store == contents.store:
                    entry_number = max(entry_number, later.journal_number)
    return entry_number


def _collect_previous_log(plan: RestorePlan) -> PreviousLog:
    """Return the plan's previous log, with the checkpoint of an audit folder outside the data."""
    exported = plan.settings.audit_log
    note = LogFolder(exported).read_note() if exported is not None else None
    previous_log = plan.previous_log
    if note is None:
        return previous_log
    return replace(previous_log, notes=(*previous_log.notes, note))


def _place_audit_folder(restored: Path, target: Path | None) -> None:
    """Move the exported log to where the settings have it; an older folder there is renamed."""
    if target is None:
        return
    partial = target.with_name(f".{target.name}.restoring")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(restored, partial)
    if target.exists():
        target.rename(target.with_name(f"{target.name}.before-restore-{time.time_ns()}"))
    partial.rename(target)
    shutil.rmtree(restored)


def _read_verifier_key(
    plan: RestorePlan, folder: BackupFolder, manifest: Manifest
) -> tuple[str, bytes]:
    if plan.verifier is None:
        return public_key(folder.read_verifier_key(manifest.name))
    try:
        return public_key(plan.verifier.read_text("utf-8"))
    except OSError as error:
        raise Invalid(f"The verifier key {plan.verifier} cannot be read.") from error


def _check_data_folder(data: Path) -> None:
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise Conflict(
            f"{data} is there already: a restore writes over nothing. Name a new folder."
        )


def _check_database(contents: Contents, database_url: str | None) -> None:
    if contents.database == "postgresql" and database_url is None:
        raise Invalid(
            "The backup is of a PostgreSQL database: name the one to be made with --database."
        )
    if contents.database == "sqlite" and database_url is not None:
        raise Invalid("The backup is of an SQLite file, which is restored into the data folder.")


def _restore_file(
    plan: RestorePlan, folder: BackupFolder, manifest: Manifest, file: StoredFile, path: Path
) -> None:
    if ".." in Path(file.path).parts or Path(file.path).is_absolute():
        raise Unprocessable("The backup names a file outside the data folder.")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = hashlib.sha256()
    with path.open("wb") as out:
        os.fchmod(out.fileno(), file.mode)
        for piece in file.pieces:
            content = open_sealed(folder.read_piece(manifest, piece), plan.identity)
            digest.update(content)
            out.write(content)
        _sync_file(out)
    if digest.hexdigest() != file.sha256:
        raise Unprocessable(f"The backup's file {file.path} is not what was backed up.")


def _upgrade_report(on_step: Callable[[str], None]) -> Callable[[Progress], None]:
    """Return a progress callback that reports each step of an upgrade once, at its start."""

    def report(progress: Progress) -> None:
        if not progress.done:
            on_step(f"Upgrading: {progress.step}.")

    return report


def _write_settings(contents: Contents, path: Path) -> None:
    """Write the settings of the installation that was backed up, for reading only."""
    path.write_text(json.dumps(dict(contents.settings), indent=2) + "\n", "utf-8")
    path.chmod(0o600)


def _sync_file(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_tree(root: Path) -> None:
    """Sync all files and folders of a tree to disk."""
    for path in [root, *root.rglob("*")]:
        if path.is_dir():
            sync_folder(path)
        elif path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
