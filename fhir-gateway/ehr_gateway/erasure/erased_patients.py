"""List of erased patients: keyed hashes, which are also what the change feed tells of an erasure.

The list outlives the patients, so that a restore erases again whom a backup still has, and nobody
gets an erased id a second time.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ehr_gateway.database import Connection
from ehr_gateway.private_file import create_private_file
from ehr_gateway.store.decision_changes import last_decision_change
from ehr_gateway.store.store import Store
from ehr_privacy.erasure import hash_patient

__all__ = [
    "find_erased_patients",
    "insert_erased",
    "is_erased",
    "list_erased",
    "open_erasure_key",
    "watch_erased_ids",
]

KEY_FILE = "erasure.key"
_KEY_BYTES = 32
# Everywhere a patient's id may stand by which somebody would find them again.
_PATIENTS = (
    "SELECT DISTINCT patient FROM record_patient",
    "SELECT id FROM resource WHERE type = 'Patient'",
    "SELECT DISTINCT patient FROM access_request",
    "SELECT patient FROM account WHERE patient IS NOT NULL",
    "SELECT DISTINCT patient FROM audit WHERE patient IS NOT NULL",
    "SELECT patient FROM audit_person WHERE patient IS NOT NULL",
    "SELECT DISTINCT patient FROM notice",
    "SELECT DISTINCT patient FROM health_link",
)


def open_erasure_key(keys: Path) -> bytes:
    """Return the key of the hashes, made when it is missing."""
    path = keys / KEY_FILE
    if not path.exists():
        create_private_file(path, os.urandom(_KEY_BYTES))
    return path.read_bytes()


def insert_erased(connection: Connection, hashes: Collection[str], after: int = 0) -> None:
    """Put erased patients on the list, and so into the change feed.

    Numbers go on behind `after`, also where the changes before were erased meanwhile.
    """
    first = max(last_decision_change(connection), after) + 1
    for number, digest in enumerate(sorted(hashes), first):
        connection.execute(
            "INSERT INTO decision_change (kind, type, id, number) VALUES ('erasure', 'Patient',"
            " ?, ?) ON CONFLICT (kind, type, id) DO UPDATE SET number = excluded.number",
            (digest, number),
        )


def list_erased(connection: Connection) -> Sequence[str]:
    """Return the hashes of the erased patients."""
    rows = connection.execute("SELECT id FROM decision_change WHERE kind = 'erasure' ORDER BY id")
    return [str(row["id"]) for row in rows.fetchall()]


def is_erased(connection: Connection, key: bytes, patient: str) -> bool:
    """Say whether a patient of an id was erased."""
    row = connection.execute(
        "SELECT 1 FROM decision_change WHERE kind = 'erasure' AND type = 'Patient' AND id = ?",
        (hash_patient(key, patient),),
    )
    return row.fetchone() is not None


def watch_erased_ids(store: Store, keys: Path) -> None:
    """Let a store refuse a new patient under an erased one's id."""

    def is_erased_here(connection: Connection, patient: str) -> bool:
        # Without a key nobody was ever erased.
        path = keys / KEY_FILE
        return path.exists() and is_erased(connection, path.read_bytes(), patient)

    store.is_erased = is_erased_here


def find_erased_patients(
    connection: Connection, key: bytes, hashes: Collection[str]
) -> Iterator[str]:
    """Yield the ids, wherever they stand in the store, of patients that were erased before."""
    wanted, seen = set(hashes), set()
    for statement in _PATIENTS:
        for row in connection.execute(statement).fetchall():
            patient = str(row[0])
            if patient not in seen and hash_patient(key, patient) in wanted:
                yield patient
            seen.add(patient)
