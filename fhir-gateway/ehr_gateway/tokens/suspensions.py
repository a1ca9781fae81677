"""Suspensions: whoever may reach nothing for a time, whatever consent says.

A person, an organisation and a client are refused at every request that bears a token of theirs;
with emergency access suspended, no emergency can be declared and none that was declared opens a
record. Each process holds those in force in memory, as it does revocations (`revocations`).
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from typing import Literal, get_args

from ehr_gateway.database import Connection

__all__ = [
    "IN_FORCE",
    "KINDS",
    "Suspension",
    "SuspensionKind",
    "SuspensionsInForce",
    "find_suspension",
    "insert_suspension",
    "lift_suspension",
    "list_suspensions",
    "read_suspensions_in_force",
]

SuspensionKind = Literal["person", "organization", "client", "emergency"]
KINDS: tuple[str, ...] = get_args(SuspensionKind)
# The condition on `suspension` of those that hold at the instant :now, as `is_in_force` says.
IN_FORCE = "lifted_ms IS NULL AND (until_ms IS NULL OR until_ms > :now)"
# In the order of the fields of Suspension.
_COLUMNS = (
    "id, kind, subject, reason, since_ms, until_ms, login, display, lifted_ms, lifted_by,"
    " lift_reason"
)


@dataclass(frozen=True)
class Suspension:
    """One suspension, and how it was lifted if it was."""

    id: str
    kind: str
    subject: str
    reason: str
    since_ms: int
    until_ms: int | None
    login: str
    display: str
    lifted_ms: int | None = None
    lifted_by: str | None = None
    lift_reason: str | None = None

    def is_in_force(self, now_ms: int) -> bool:
        """Say whether it holds at an instant."""
        return self.lifted_ms is None and (self.until_ms is None or now_ms < self.until_ms)


@dataclass(frozen=True)
class SuspensionsInForce:
    """The suspensions that no act has lifted, by what they suspend; terms are still to compare."""

    # The latest end of each; None if it holds until it is lifted.
    ends: dict[tuple[str, str], int | None] = field(default_factory=dict)

    def is_suspended(
        self, *, person: str, organization: str | None, client: str, now_ms: int
    ) -> bool:
        """Say whether the person, the organisation or the client of a token is suspended."""
        if not self.ends:
            return False
        return (
            self._holds("person", person, now_ms)
            or self._holds("organization", organization or "", now_ms)
            or self._holds("client", client, now_ms)
        )

    def is_emergency_suspended(self, now_ms: int) -> bool:
        """Say whether no emergency opens a record."""
        return bool(self.ends) and self._holds("emergency", "", now_ms)

    def _holds(self, kind: str, subject: str, now_ms: int) -> bool:
        if (kind, subject) not in self.ends:
            return False
        end = self.ends[kind, subject]
        return end is None or now_ms < end


def read_suspensions_in_force(connection: Connection) -> SuspensionsInForce:
    """Read what is suspended and was not lifted."""
    ends: dict[tuple[str, str], int | None] = {}
    rows = connection.execute(
        "SELECT kind, subject, until_ms FROM suspension WHERE lifted_ms IS NULL"
    )
    for kind, subject, until_ms in rows:
        known = ends.get((kind, subject), 0)
        is_endless = until_ms is None or known is None
        ends[kind, subject] = None if is_endless else max(known or 0, until_ms)
    return SuspensionsInForce(ends)


def insert_suspension(connection: Connection, suspension: Suspension) -> None:
    """Store a suspension."""
    connection.execute(
        f"INSERT INTO suspension ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        astuple(suspension),
    )


def lift_suspension(
    connection: Connection, suspension_id: str, *, login: str, reason: str, now_ms: int
) -> bool:
    """Lift a suspension; return False if it was lifted before or is not there."""
    update = connection.execute(
        "UPDATE suspension SET lifted_ms = ?, lifted_by = ?, lift_reason = ?"
        " WHERE id = ? AND lifted_ms IS NULL",
        (now_ms, login, reason, suspension_id),
    )
    return update.rowcount == 1


def find_suspension(connection: Connection, suspension_id: str) -> Suspension | None:
    """Return a suspension by its id."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM suspension WHERE id = ?",  # noqa: S608 constant columns
        (suspension_id,),
    ).fetchone()
    return Suspension(*row) if row else None


def list_suspensions(connection: Connection, limit: int) -> list[Suspension]:
    """Return suspensions, the newest first, also those that have ended."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM suspension ORDER BY since_ms DESC, id DESC LIMIT ?",  # noqa: S608
        (limit,),
    )
    return [Suspension(*row) for row in rows]
