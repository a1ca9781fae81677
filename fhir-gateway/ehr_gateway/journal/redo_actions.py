"""Redo actions: the changes that a restore repeats, so that it gives back no access taken away.

A backup is older than the changes made after it. Those that withdraw consent, disable an account,
erase data or decide about a version with a fault are therefore also written to the journal, each as
a JSON object whose `kind` says how to replay it (`ehr_gateway.backup.replay`). Actions may name
patients and hold whole resources: the journal encrypts them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from ehr_fhir.json_text import parse, serialize
from ehr_gateway.database import Connection
from ehr_privacy.consent import HeldFact

__all__ = [
    "FACTOR_TABLES",
    "RedoAction",
    "append_redo_actions",
    "build_account_redo",
    "build_client_redo",
    "build_client_replacement_redo",
    "build_erasure_redo",
    "build_factors_redo",
    "build_facts_redo",
    "build_membership_redo",
    "build_purge_redo",
    "build_quality_decision_redo",
    "build_suspension_redo",
    "build_version_redo",
    "digest_content",
]

RedoAction = Mapping[str, object]
# The tables of second factors, one key each in an action of the kind "factors".
FACTOR_TABLES = ("totp", "recovery_code", "passkey")


def append_redo_actions(connection: Connection, redo_actions: Sequence[RedoAction]) -> None:
    """Append redo actions to the journal, inside the transaction that makes the changes.

    Call it as late in the transaction as possible. If the transaction is rolled back afterwards,
    its entry stays in the journal, and counts as in doubt until the next entry or `resolve`.
    """
    if redo_actions and connection.journal is not None:
        connection.journal.append(connection, redo_actions)


def build_version_redo(
    *,
    kind: str,
    identity: str,
    method: str,
    author: str | None,
    body: bytes,
    held: Iterable[HeldFact] = (),
) -> RedoAction:
    """Return the action that writes a version of a resource again; a deletion has no body.

    `held` are the facts held beside it. Inherited ones are worked out anew.
    """
    listed = _list_held(held)
    return {
        "kind": "version",
        "type": kind,
        "id": identity,
        "method": method,
        "author": author,
        "body": body.decode(),
        # Of most records nothing is held.
        **({"held": listed} if listed else {}),
    }


def build_facts_redo(*, kind: str, identity: str, held: Iterable[HeldFact]) -> RedoAction:
    """Return the action that holds the same facts beside a resource again."""
    return {"kind": "facts", "type": kind, "id": identity, "held": _list_held(held)}


def build_account_redo(connection: Connection, login: str) -> RedoAction:
    """Return the action that restores an account's present row: role, password hash, disabled."""
    rows = _select_by_login(connection, "account", login)
    return {"kind": "account", "login": login, "account": rows}


def build_membership_redo(login: str, person: str, organization: str) -> RedoAction:
    """Return the action that says again which organisation a person belongs to by account."""
    return {
        "kind": "membership",
        "login": login,
        "person": person,
        "organization": organization,
    }


def build_factors_redo(connection: Connection, login: str) -> RedoAction:
    """Return the action that restores an account's present second factors.

    The secrets of one-time passwords are encrypted in the table already, by a key of their own.
    """
    rows_by_table = {table: _select_by_login(connection, table, login) for table in FACTOR_TABLES}
    return {"kind": "factors", "login": login, **rows_by_table}


def build_client_redo(client_id: str) -> RedoAction:
    """Return the action that deletes an OAuth client."""
    return {"kind": "client", "client": client_id}


def build_client_replacement_redo(connection: Connection, client_id: str) -> RedoAction:
    """Return the action that restores an OAuth client's present row: scope, secret hash, keys."""
    rows = _select_rows(connection, "client", "id", client_id)
    return {"kind": "client", "client": client_id, "rows": rows}


def build_suspension_redo(connection: Connection, suspension_id: str) -> RedoAction:
    """Return the action that suspends again. Lifting is not repeated: a restore never reopens."""
    rows = _select_rows(connection, "suspension", "id", suspension_id)
    return {"kind": "suspension", "suspension": suspension_id, "rows": rows}


def build_erasure_redo(patient_id: str) -> RedoAction:
    """Return the action that erases the content of a patient's audit events."""
    return {"kind": "erasure", "patient": patient_id}


def build_purge_redo(erasure_id: str, hashes: Sequence[str], key: bytes) -> RedoAction:
    """Return the action that erases patients, known by keyed hashes, wherever a backup has them.

    With the key, since a backup may be older than that.
    """
    return {"kind": "purge", "erasure": erasure_id, "hashes": list(hashes), "key": key.hex()}


def build_quality_decision_redo(
    connection: Connection, decision_id: str, *, request_id: str | None = None
) -> RedoAction:
    """Return the action that decides again about a version with a fault.

    With the digest of the version's content: after a restore its number may be another version's.
    `request_id` is the correction request by which it was sent back to its author.
    """
    (decision,) = _select_rows(connection, "quality_decision", "id", decision_id)
    version = connection.execute(
        "SELECT body FROM resource WHERE type = ? AND id = ? AND current = 1",
        (decision["type"], decision["logical_id"]),
    ).fetchone()
    requests = _select_rows(connection, "access_request", "id", request_id) if request_id else []
    return {
        "kind": "quality-decision",
        "type": decision["type"],
        "id": decision["logical_id"],
        "content": digest_content(bytes(version["body"])),
        "decision": decision,
        "requests": requests,
    }


def digest_content(body: bytes) -> str:
    """Return the SHA-256 of a version's content, without its number and its instant.

    >>> first = b'{"resourceType":"Basic","meta":{"versionId":"1","lastUpdated":"2026-01-01"}}'
    >>> digest_content(first) == digest_content(b'{"resourceType":"Basic","meta":{}}')
    True
    """
    resource = parse(body)
    meta = resource.get("meta", {})
    resource["meta"] = {
        name: value for name, value in meta.items() if name not in ("versionId", "lastUpdated")
    }
    return hashlib.sha256(serialize(resource)).hexdigest()


def _list_held(held: Iterable[HeldFact]) -> list[list[str]]:
    return [[fact.kind, fact.value, fact.source] for fact in sorted(held) if not fact.is_inherited]


def _select_by_login(connection: Connection, table: str, login: str) -> list[dict[str, object]]:
    return _select_rows(connection, table, "login", login)


def _select_rows(
    connection: Connection, table: str, column: str, value: str
) -> list[dict[str, object]]:
    statement = f"SELECT * FROM {table} WHERE {column} = ?"  # noqa: S608 constant names
    rows = connection.execute(statement, (value,)).fetchall()
    return [{name: row[name] for name in row.keys()} for row in rows]
