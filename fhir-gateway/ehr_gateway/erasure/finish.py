"""Finish erasures whose rows are deleted: late audit rows, files of notices, the database's files.

Called at start and in intervals, so an erasure that a crash cut short is finished by the next
process. Doing it twice changes nothing.
"""

from __future__ import annotations

import fcntl
import logging
from pathlib import Path

from ehr_gateway.access_requests.request_rows import AccessRequest, select_requests
from ehr_gateway.audit_log.erase import erase_patient_events
from ehr_gateway.audit_log.recorder import build_platform_context
from ehr_gateway.audit_log.spool import Spool
from ehr_gateway.bulk_data.import_files import remove_files_of_ended_imports
from ehr_gateway.erasure.database_files import rewrite_database
from ehr_gateway.erasure.erased_patients import open_erasure_key
from ehr_gateway.erasure.requests import ERASURE_KIND, PENDING_SETTING, is_pending
from ehr_gateway.erasure.sought_texts import erasures_folder, read_sought_texts
from ehr_gateway.erasure.store_rows import delete_derived_rows
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.store import Store

__all__ = ["delete_files_of_notices", "finish_erasures"]

_LOG = logging.getLogger("ehr_gateway")


def finish_erasures(store: Store, settings: GatewaySettings, spool: Spool, now_ms: int) -> int:
    """Finish the erasures whose rows are deleted; return how many there were.

    None are finished while another process is about it.
    """
    if not is_pending(store):
        return 0
    folder = erasures_folder(settings.data)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "writer.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        return _finish(store, settings, spool, now_ms)


def _finish(store: Store, settings: GatewaySettings, spool: Spool, now_ms: int) -> int:
    with store.read_transaction() as connection:
        requests = select_requests(
            connection, "kind = :kind AND state = 'active'", kind=ERASURE_KIND
        )
    spool.flush()
    for request in requests:
        _erase_late_events(store, settings, request, now_ms)
    delete_files_of_notices(store, settings.data / "notices")
    remove_files_of_ended_imports(store, settings.data)
    rewrite_database(settings.database)
    with store.write_transaction() as connection:
        for request in requests:
            connection.execute(
                "UPDATE access_request SET state = 'ended', until_ms = ? WHERE id = ?",
                (now_ms, request.id),
            )
        connection.execute("DELETE FROM setting WHERE name = ?", (PENDING_SETTING,))
    _LOG.info("The database's files were written anew after an erasure.")
    return len(requests)


def _erase_late_events(
    store: Store, settings: GatewaySettings, request: AccessRequest, now_ms: int
) -> None:
    """Empty events of requests that were under way when the rows were deleted, and what led on."""
    key = open_erasure_key(settings.keys)
    sought = read_sought_texts(erasures_folder(settings.data), key, request.id)
    if sought is None:
        return
    audit_context = build_platform_context("erasure", "operation", now_ms)
    with store.write_transaction() as connection:
        for patient in sought.patients:
            erase_patient_events(
                connection,
                audit_context,
                patient,
                query=f"$decide-erasure?erasure={request.id}",
                is_journaled=False,
                records=sought.records,
            )
        delete_derived_rows(connection, sought.patients)


def delete_files_of_notices(store: Store, folder: Path) -> None:
    """Delete the files of notices that are no more; a file is named by its notice."""
    if not folder.is_dir():
        return
    with store.read_transaction() as connection:
        known = {row["id"] for row in connection.execute("SELECT id FROM notice")}
    for file in folder.glob("*.txt"):
        if file.stem not in known:
            file.unlink(missing_ok=True)
