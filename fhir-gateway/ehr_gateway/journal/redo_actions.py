"""Closings: what a restore must do again, lest it opens what was closed since the backup.

Each is a JSON object with its kind. They are sealed before they are written, so they may name
patients and hold versions of records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ehr_gateway.database import Connection

__all__ = [
    "FACTOR_TABLES",
    "RedoAction",
    "append_redo_actions",
    "build_account_redo",
    "build_client_redo",
    "build_erasure_redo",
    "build_factors_redo",
    "build_version_redo",
]

RedoAction = Mapping[str, object]
FACTOR_TABLES = ("totp", "recovery_code", "passkey")


def append_redo_actions(connection: Connection, closings: Sequence[RedoAction]) -> None:
    """Put closings on the journal's disk, inside the transaction that makes them.

    Called as late in it as can be: a transaction that is taken back afterwards leaves an entry that
    counts as one in doubt until the next.
    """
    if closings and connection.journal is not None:
        connection.journal.append(connection, closings)


def build_version_redo(
    *, kind: str, identity: str, method: str, author: str | None, body: bytes
) -> RedoAction:
    """Describe a version of a record that may close something; a deletion has no body."""
    return {
        "kind": "version",
        "type": kind,
        "id": identity,
        "method": method,
        "author": author,
        "body": body.decode(),
    }


def build_account_redo(connection: Connection, login: str) -> RedoAction:
    """Describe an account as it stands now: its role, its password, whether it is disabled."""
    rows = _rows(connection, "SELECT * FROM account WHERE login = ?", login)
    return {"kind": "account", "login": login, "account": rows}


def build_factors_redo(connection: Connection, login: str) -> RedoAction:
    """Describe the second factors of an account as they stand now; secrets are sealed already."""
    return {
        "kind": "factors",
        "login": login,
        **{
            table: _rows(connection, f"SELECT * FROM {table} WHERE login = ?", login)  # noqa: S608
            for table in FACTOR_TABLES
        },
    }


def build_client_redo(client: str) -> RedoAction:
    """Describe that a program was deleted."""
    return {"kind": "client", "client": client}


def build_erasure_redo(patient: str) -> RedoAction:
    """Describe that the audit events of a patient were emptied."""
    return {"kind": "erasure", "patient": patient}


def _rows(connection: Connection, sql: str, login: str) -> list[dict[str, object]]:
    rows = connection.execute(sql, (login,)).fetchall()
    return [{name: row[name] for name in row.keys()} for row in rows]
