"""Closure of a restored store: open to patients, for themselves, and to stewards alone.

A store that was put back without all of its journal may hold permissions that were withdrawn since.
It stays closed until a steward confirms it (`ehr restore confirm`).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from ehr_fhir.errors import Unavailable
from ehr_gateway.database import Connection, Database

__all__ = ["Closure", "ClosureWatch", "close_store", "load_closure", "reopen_store"]

_SETTING = "closed"
_OPEN_ROLES = frozenset({"patient", "steward"})
_RELOAD_SECONDS = 1.0


@dataclass(frozen=True)
class Closure:
    """Why a store is closed."""

    reason: str
    # When the backup was made that it comes from, ISO 8601.
    backup: str
    # Changes since the backup that may or may not have committed: "Consent/x", "account y".
    in_doubt: tuple[str, ...] = ()


class ClosureWatch:
    """Whether this process's store is closed.

    An open one is never asked again: only a restore closes a store, and nobody serves it meanwhile.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loaded = time.monotonic()
        with database.read_transaction() as connection:
            self._closed = load_closure(connection) is not None

    def is_closed_to(self, role: str) -> bool:
        """Return whether the store is closed, and to this role."""
        return self._closed and role not in _OPEN_ROLES and self._still_closed()

    def check_role(self, role: str) -> None:
        """Raise Unavailable for a requester to whom a closed store is closed."""
        if self.is_closed_to(role):
            raise Unavailable(
                "The records were restored from a backup. They are closed, but to patients "
                "themselves, until a steward has confirmed what may be shared."
            )

    def _still_closed(self) -> bool:
        if time.monotonic() - self._loaded > _RELOAD_SECONDS:
            with self._database.read_transaction(single_statement=True) as connection:
                self._closed = load_closure(connection) is not None
            self._loaded = time.monotonic()
        return self._closed


def load_closure(connection: Connection) -> Closure | None:
    """Read why the store is closed; None when it is open."""
    row = connection.execute("SELECT value FROM setting WHERE name = ?", (_SETTING,)).fetchone()
    if row is None:
        return None
    values = json.loads(bytes(row[0]))
    return Closure(values["reason"], values["backup"], tuple(values["doubtful"]))


def close_store(connection: Connection, closure: Closure) -> None:
    """Close the store."""
    values = {
        "reason": closure.reason,
        "backup": closure.backup,
        "doubtful": list(closure.in_doubt),
    }
    connection.execute(
        "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_SETTING, json.dumps(values).encode()),
    )


def reopen_store(connection: Connection) -> None:
    """Open the store to everybody whom consent lets in."""
    connection.execute("DELETE FROM setting WHERE name = ?", (_SETTING,))
