"""What is done to a restored store before anybody may use it, so that nothing opens again.

All sessions, refresh tokens, codes and access tokens end: none that ended since the backup can come
back. The journal is replayed; where it cannot be relied on, the store is closed. The store gets a
new epoch, and an event of the audit log tells of the restore and of what it cut off.
"""

from __future__ import annotations

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
    copy_exported_log,
    copy_tail_rows,
    find_signed_size,
)
from ehr_gateway.backup.journal_recovery import RecoveredJournal, recover_journal
from ehr_gateway.backup.manifest import Contents, Manifest
from ehr_gateway.backup.replay import ReplayResult, describe_redo_action, replay_entries
from ehr_gateway.database import Connection
from ehr_gateway.journal.entries import Entry
from ehr_gateway.journal.journal import load_journal_head, save_journal_head
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.closure import Closure, close_store, load_closure, reopen_store
from ehr_gateway.store.epoch import StoreEpoch, begin_epoch
from ehr_gateway.store.store import Store
from ehr_gateway.tokens import keys
from ehr_gateway.tokens.access_tokens import Subject

__all__ = ["RestoredState", "confirm_restore", "secure_restored_store"]

_PLATFORM = "ehr-commons"
_PURPOSE = "HSYSADMIN"
_SESSION_TABLES = ("login_session", "token_family")
# Good once, and nobody knows any more which of them were used.
_SINGLE_USE_TABLES = ("auth_code", "eid_code", "launch", "initial_access", "refresh_token")


@dataclass(frozen=True)
class RestoredState:
    """How a restored store stands."""

    epoch: StoreEpoch
    journal: RecoveredJournal
    replayed: int
    # Why it is closed; None when it is open.
    closure: Closure | None
    note: RestoreNote


def secure_restored_store(
    settings: GatewaySettings,
    contents: Contents,
    manifest: Manifest,
    *,
    journal_folders: Iterable[Path],
    known_entries: int,
    old_log: PreviousLog,
    now_ms: int,
) -> RestoredState:
    """Bring a restored store into a state in which nothing is open that was closed since."""
    store = Store(settings.database, settings.data)
    audit_context = AuditContext(
        subject=Subject(_PLATFORM, "eHR Commons", "system", "restore", _PLATFORM),
        purpose=_PURPOSE,
        at_ms=now_ms,
        request_id=uuid.uuid4().hex,
        interaction=RESTORE,
    )
    try:
        cut_from = find_signed_size(old_log, settings)
        with store.write_transaction() as connection:
            _end_sessions(connection, now_ms)
            carried = copy_tail_rows(connection, old_log, contents.audit_size)
            # First of the new events, and of the new positions: what is replayed comes after.
            size = contents.audit_size + (carried or 0)
            cut = cut_from if cut_from > size else None
            note = RestoreNote(manifest.at, size=size, carried=carried, cut_from=cut)
            _record_event(connection, audit_context, note.query, "restored")
            epoch = begin_epoch(connection)
            found = recover_journal(
                journal_folders,
                settings.keys,
                epoch.store,
                load_journal_head(connection),
                known_entries=known_entries,
            )
            result = replay_entries(
                store, connection, [*found.committed, *found.doubtful], audit_context
            )
            if found.head is not None:
                save_journal_head(connection, found.head)
            closure = _find_closure(found, result, manifest)
            if closure is not None:
                close_store(connection, closure)
            # It may have been closed when it was backed up.
            closure = load_closure(connection)
    finally:
        store.close()
    if carried is not None:
        copy_exported_log(old_log, settings)
    # Every access token that was signed by now ends.
    keys.rotate_keys(settings.keys, now_ms, settings.token_seconds, at_once=True)
    return RestoredState(epoch, found, result.replayed, closure, note)


def confirm_restore(store: Store, login: str, now_ms: int) -> Closure | None:
    """Open a closed store in a steward's name, on record; return why it was closed."""
    account = find_account(store, login)
    if account.role != "steward":
        raise Forbidden(f"{login} is no steward: only a steward confirms what may be shared.")
    with store.write_transaction() as connection:
        closure = load_closure(connection)
        if closure is not None:
            reopen_store(connection)
            audit_context = AuditContext(
                subject=subject_of_account(account, "local"),
                purpose=_PURPOSE,
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
    # Their codes and invitations may have been refused or called back since.
    connection.execute("UPDATE access_request SET state = 'expired' WHERE state = 'proposed'")
    for table in _SINGLE_USE_TABLES:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 constant names


def _find_closure(
    found: RecoveredJournal, result: ReplayResult, manifest: Manifest
) -> Closure | None:
    fault = found.fault
    if result.failed and not fault:
        fault = "Some of what the journal holds could not be closed again."
    if not fault:
        return None
    return Closure(fault, manifest.at, tuple([*_describe_entries(found.doubtful), *result.failed]))


def _describe_entries(entries: Sequence[Entry]) -> list[str]:
    return [describe_redo_action(closing) for entry in entries for closing in entry.closings]


def _record_event(
    connection: Connection, audit_context: AuditContext, query: str, reason: str
) -> None:
    rows = recorder.build_event_rows(replace(audit_context, query=query), None, reason=reason)
    recorder.record_rows(connection, rows)
