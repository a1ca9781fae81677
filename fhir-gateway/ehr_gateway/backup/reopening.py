"""What is done to a restored store before anybody may use it, so that nothing opens again.

All sessions, refresh tokens, codes and access tokens end: none that ended since the backup can come
back. The store gets a new epoch, and an event of the audit log tells of the restore.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.backup.manifest import Contents, Manifest
from ehr_gateway.database import Connection
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.epoch import StoreEpoch, begin_epoch
from ehr_gateway.store.store import Store
from ehr_gateway.tokens import keys
from ehr_gateway.tokens.access_tokens import Subject

__all__ = ["RESTORE", "RestoredState", "close_restored_store"]

# The interaction of the event that tells of a restore.
RESTORE = "restore"
_PLATFORM = "ehr-commons"
_ENDED = ("login_session", "token_family")
# Good once, and nobody knows any more which of them were used.
_GOOD_ONCE = ("auth_code", "eid_code", "launch", "initial_access", "refresh_token")


@dataclass(frozen=True)
class RestoredState:
    """How a restored store stands."""

    epoch: StoreEpoch
    audit_size: int


def close_restored_store(
    settings: GatewaySettings, contents: Contents, manifest: Manifest, now_ms: int
) -> RestoredState:
    """Bring a restored store into a state in which nothing is open that was closed since."""
    store = Store(settings.database, settings.data)
    try:
        with store.write_transaction() as connection:
            _end_log_ins(connection, now_ms)
            epoch = begin_epoch(connection)
            _record_restore(connection, contents, manifest, now_ms)
    finally:
        store.close()
    # Every access token that was signed by now ends.
    keys.rotate_keys(settings.keys, now_ms, settings.token_seconds, at_once=True)
    return RestoredState(epoch, contents.audit_size)


def _end_log_ins(connection: Connection, now_ms: int) -> None:
    for table in _ENDED:
        connection.execute(
            f"UPDATE {table} SET ended_ms = ? WHERE ended_ms IS NULL",  # noqa: S608
            (now_ms,),
        )
    for table in _GOOD_ONCE:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 constant names


def _record_restore(
    connection: Connection, contents: Contents, manifest: Manifest, now_ms: int
) -> None:
    audit_context = AuditContext(
        subject=Subject(_PLATFORM, "eHR Commons", "system", "restore", _PLATFORM),
        purpose="HSYSADMIN",
        at_ms=now_ms,
        request_id=uuid.uuid4().hex,
        interaction=RESTORE,
        query=f"restore?backup={manifest.at}&size={contents.audit_size}",
    )
    recorder.record_rows(
        connection, recorder.build_event_rows(audit_context, None, reason="restored")
    )
