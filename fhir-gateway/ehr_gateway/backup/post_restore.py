"""Post-restore steps: nothing that was revoked after the backup works again in the restored store.

1. End all sessions, refresh tokens, codes, access tokens and health links; people log in anew.
2. Copy the end of the audit log that the backup lacks, and record the restore in the log.
3. Begin a new epoch of the change feed.
4. Replay the journal. If it cannot be relied on, close the store until a steward confirms.
5. Erase again the patients who were erased after the backup.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ehr_fhir.errors import Forbidden
from ehr_gateway.accounts.accounts import find_account, subject_of_account
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.audit_log.restores import RESTORE, RESTORE_CONFIRMATION, RestoreNote
from ehr_gateway.backup.audit_tail import (
    PreviousLog,
    copy_tail_rows,
    find_signed_size,
    install_exported_log,
    save_exported_log,
)
from ehr_gateway.backup.journal_recovery import RecoveredJournal, recover_journal
from ehr_gateway.backup.manifest import Contents, Manifest
from ehr_gateway.backup.replay import ReplayResult, describe_redo_action, replay_entries
from ehr_gateway.database import Connection
from ehr_gateway.erasure.database_files import rewrite_database
from ehr_gateway.erasure.finish import delete_files_of_notices
from ehr_gateway.erasure.restored import erase_again
from ehr_gateway.journal.entries import ChainHead, Entry
from ehr_gateway.journal.journal import load_journal_head, save_journal_head
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.closure import Closure, close_store, load_closure, reopen_store
from ehr_gateway.store.epoch import StoreEpoch, begin_epoch
from ehr_gateway.store.relabel import relabel_step
from ehr_gateway.store.store import Store
from ehr_gateway.subscriptions.rows import switch_all_off
from ehr_gateway.tokens import keys

__all__ = ["RestoredState", "confirm_restore", "secure_restored_store"]

# Their rows stay, with the time when they ended.
_SESSION_TABLES = ("login_session", "token_family")
# Codes and tokens for one use: which of them were used since the backup is not known.
_SINGLE_USE_TABLES = ("auth_code", "eid_code", "launch", "initial_access", "refresh_token")


@dataclass(frozen=True)
class RestoredState:
    """The outcome of a restore: the store's new epoch, what was replayed, whether it is closed."""

    epoch: StoreEpoch
    journal: RecoveredJournal
    # How many redo actions were repeated.
    replayed: int
    # Why the store is closed; None if it is open.
    closure: Closure | None
    # The restore as the audit log records it.
    note: RestoreNote
    # The patients that the backup had and that were erased since: erased here again.
    erased: tuple[str, ...] = ()


def secure_restored_store(
    settings: GatewaySettings,
    contents: Contents,
    manifest: Manifest,
    *,
    journal_folders: Iterable[Path],
    known_entry_number: int,
    previous_log: PreviousLog,
    now_ms: int,
) -> RestoredState:
    """Take the post-restore steps, in one transaction and then on the key folder."""
    store = Store(settings.database, settings.data)
    audit_context = recorder.build_platform_context("restore", RESTORE, now_ms)
    saved_log = settings.data / "previous-log"
    try:
        save_exported_log(previous_log, saved_log)
        signed_size = find_signed_size(previous_log, settings)
        with store.write_transaction() as connection:
            _end_sessions(connection, now_ms)
            switch_all_off(connection, "restored", now_ms)
            copied_rows = copy_tail_rows(connection, previous_log, contents.audit_size)
            # The event and the epoch come before the replay, whose events and positions are new.
            size = contents.audit_size + (copied_rows or 0)
            lost_size = signed_size if signed_size > size else None
            note = RestoreNote(manifest.at, size=size, carried=copied_rows, cut_from=lost_size)
            _record_event(connection, audit_context, note.query, "restored")
            epoch = begin_epoch(connection)
            journal = recover_journal(
                journal_folders,
                settings.keys,
                epoch.store,
                load_journal_head(connection),
                known_entry_number=known_entry_number,
            )
            result = replay_entries(
                store,
                connection,
                [*journal.committed, *journal.in_doubt],
                audit_context,
                audit_size=contents.audit_size,
            )
            erased = erase_again(store, connection, audit_context, settings.keys, result.purges)
            head = journal.head or _begin_chain_after_gap(
                load_journal_head(connection), known_entry_number, epoch
            )
            save_journal_head(connection, head)
            closure = _find_closure(journal, result, manifest)
            if closure is not None:
                close_store(connection, closure)
            # Load it again: the store may have been closed when it was backed up.
            closure = load_closure(connection)
        # Add the labels of newer rules now: while it serves, records would be open meanwhile.
        while relabel_step(store):
            pass
        if erased:
            delete_files_of_notices(store, settings.data / "notices")
    finally:
        store.close()
    if erased:
        rewrite_database(settings.database)
    if copied_rows is not None:
        install_exported_log(saved_log, settings)
    shutil.rmtree(saved_log, ignore_errors=True)
    # New signing keys end every access token there is.
    keys.rotate_keys(settings.keys, now_ms, settings.token_seconds, at_once=True)
    return RestoredState(epoch, journal, result.replayed, closure, note, tuple(erased))


def confirm_restore(store: Store, login: str, now_ms: int) -> Closure | None:
    """Reopen a closed store, as an audit event in a steward's name; return why it was closed.

    None if it was open. Raises Forbidden unless the account is a steward's.
    """
    account = find_account(store, login)
    if account.role != "steward":
        raise Forbidden(f"{login} is no steward: only a steward confirms what may be shared.")
    with store.write_transaction() as connection:
        closure = load_closure(connection)
        if closure is not None:
            reopen_store(connection)
            audit_context = AuditContext(
                subject=subject_of_account(account, "local"),
                purpose=recorder.PLATFORM_PURPOSE,
                at_ms=now_ms,
                request_id=uuid.uuid4().hex,
                interaction=RESTORE_CONFIRMATION,
            )
            _record_event(connection, audit_context, f"restore?backup={closure.backup}", "steward")
    return closure


def _end_sessions(connection: Connection, now_ms: int) -> None:
    for table in _SESSION_TABLES:
        connection.execute(
            f"UPDATE {table} SET ended_ms = ? WHERE ended_ms IS NULL",  # noqa: S608
            (now_ms,),
        )
    # A link may have been ended after the backup; its openings stay with it.
    connection.execute(
        "UPDATE health_link SET ended_ms = ?, file = NULL WHERE ended_ms IS NULL", (now_ms,)
    )
    # Open requests for access may have been refused or withdrawn after the backup.
    connection.execute("UPDATE access_request SET state = 'expired' WHERE state = 'proposed'")
    for table in _SINGLE_USE_TABLES:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 constant names


def _begin_chain_after_gap(
    head: ChainHead, known_entry_number: int, epoch: StoreEpoch
) -> ChainHead:
    """Return the head of a new journal in place of one that was lost.

    It leaves out a number, so that a second restore of the same backup with the new journal finds
    the gap: else it would take that journal for a whole one, and open the store.
    """
    number = max(head.number, known_entry_number) + 1
    return ChainHead(number, hashlib.sha256(epoch.epoch.encode()).hexdigest())


def _find_closure(
    journal: RecoveredJournal, result: ReplayResult, manifest: Manifest
) -> Closure | None:
    """Return why the store must be closed; None if the whole journal was replayed."""
    fault = journal.fault
    if result.failed and not fault:
        fault = "Some of what the journal holds could not be closed again."
    if not fault:
        return None
    return Closure(
        fault, manifest.at, tuple([*_describe_entries(journal.in_doubt), *result.failed])
    )


def _describe_entries(entries: Sequence[Entry]) -> list[str]:
    return [describe_redo_action(action) for entry in entries for action in entry.redo_actions]


def _record_event(
    connection: Connection, audit_context: AuditContext, query: str, reason: str
) -> None:
    rows = recorder.build_event_rows(replace(audit_context, query=query), None, reason=reason)
    recorder.record_rows(connection, rows)
