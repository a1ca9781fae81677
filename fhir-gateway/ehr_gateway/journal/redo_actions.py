"""Closings: what a restore must do again, lest it opens what was closed since the backup.

Each is a JSON object with its kind. They are sealed before they are written, so they may name
patients and hold versions of records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ehr_gateway.database import Connection

__all__ = [
    "FACTOR_TABLES",
    "Closing",
    "account_closing",
    "client_closing",
    "erasure_closing",
    "factors_closing",
    "record_closings",
    "version_closing",
]

Closing = Mapping[str, object]
FACTOR_TABLES = ("totp", "recovery_code", "passkey")


def record_closings(connection: Connection, closings: Sequence[Closing]) -> None:
    """Put closings on the journal's disk, inside the transaction that makes them.

    Called as late in it as can be: a transaction that is taken back afterwards leaves an entry that
    counts as one in doubt until the next.
    """
    if closings and connection.journal is not None:
        connection.journal.append(connection, closings)


def version_closing(
    *, kind: str, identity: str, method: str, author: str | None, body: bytes
) -> Closing:
    """Describe a version of a record that may close something; a deletion has no body."""
    return {
        "kind": "version",
        "type": kind,
        "id": identity,
        "method": method,
        "author": author,
        "body": body.decode(),
    }


def account_closing(connection: Connection, login: str) -> Closing:
    """Describe an account as it stands now: its role, its password, whether it is disabled."""
    rows = _rows(connection, "SELECT * FROM account WHERE login = ?", login)
    return {"kind": "account", "login": login, "account": rows}


def factors_closing(connection: Connection, login: str) -> Closing:
    """Describe the second factors of an account as they stand now; secrets are sealed already."""
    return {
        "kind": "factors",
        "login": login,
        **{
            table: _rows(connection, f"SELECT * FROM {table} WHERE login = ?", login)  # noqa: S608
            for table in FACTOR_TABLES
        },
    }


def client_closing(client: str) -> Closing:
    """Describe that a program was deleted."""
    return {"kind": "client", "client": client}


def erasure_closing(patient: str) -> Closing:
    """Describe that the audit events of a patient were emptied."""
    return {"kind": "erasure", "patient": patient}


def _rows(connection: Connection, sql: str, login: str) -> list[dict[str, object]]:
    rows = connection.execute(sql, (login,)).fetchall()
    return [{name: row[name] for name in row.keys()} for row in rows]
