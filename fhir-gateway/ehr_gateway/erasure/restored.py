"""Erase again, in a store put back from a backup, whom the backup still has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.database import Connection
from ehr_gateway.erasure.erased_patients import (
    KEY_FILE,
    find_erased_patients,
    insert_erased,
    list_erased,
    open_erasure_key,
)
from ehr_gateway.erasure.store_rows import delete_patient_rows
from ehr_gateway.ids import new_id
from ehr_gateway.private_file import create_private_file
from ehr_gateway.store.store import Store

__all__ = ["erase_again"]


def erase_again(
    store: Store,
    connection: Connection,
    audit_context: AuditContext,
    keys: Path,
    purges: Iterable[Mapping[str, Any]],
) -> Sequence[str]:
    """Erase the patients on the list of the store, and of the journal's entries; return their ids.

    `purges` are the journal's actions since the backup.
    """
    hashes_by_key: defaultdict[bytes, set[str]] = defaultdict(set)
    for purge in purges:
        hashes_by_key[bytes.fromhex(purge["key"])] |= set(purge["hashes"])
    if not (keys / KEY_FILE).exists() and hashes_by_key:
        # The backup is older than the first erasure.
        create_private_file(keys / KEY_FILE, next(iter(hashes_by_key)))
    listed = set(list_erased(connection))
    if listed:
        hashes_by_key[open_erasure_key(keys)] |= listed
    erased: list[str] = []
    for key, hashes in hashes_by_key.items():
        patients = list(find_erased_patients(connection, key, hashes))
        if patients:
            erasure = new_id()
            delete_patient_rows(
                store, connection, audit_context, patients,
                erasure=erasure, key=key, hashes=hashes, query=f"restore?erasure={erasure}",
            )  # fmt: skip
        else:
            insert_erased(connection, hashes - listed)
        erased += patients
    return erased
