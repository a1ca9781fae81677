"""The table of access requests: insert, select, change state. No rules and no permissions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ehr_gateway.database import Connection, Row

__all__ = [
    "AccessRequest",
    "Order",
    "decide_request",
    "find_request",
    "insert_request",
    "select_in_order",
    "select_overdue",
    "select_requests",
]

_MAX_ROWS = 200
Order = Literal["newest", "oldest", "emergencies", "open"]
_ORDERS: Mapping[Order, str] = {
    "newest": "asked_ms DESC, id DESC",
    "oldest": "asked_ms, id",
    # Emergencies, then the others, the oldest of each first.
    "emergencies": "CASE kind WHEN 'emergency' THEN 0 ELSE 1 END, asked_ms, id",
    # What holds or may still be answered, then what is over, the newest of each first.
    "open": "CASE WHEN state IN ('proposed', 'active') THEN 0 ELSE 1 END, asked_ms DESC, id DESC",
}
_COLUMNS = (
    "id, kind, state, consent, patient, person, display, organization, profession, reason,"
    " domains, details, hours, tries, asked_ms, expires_ms, until_ms, decided_ms, decided_by,"
    " code, review, review_note, reviewer, reviewed_ms"
)


@dataclass(frozen=True)
class AccessRequest:
    """An access request (or power, or hold) and its outcome."""

    id: str
    kind: str
    patient: str
    person: str
    display: str
    organization: str | None
    profession: str | None
    reason: str
    asked_ms: int
    expires_ms: int
    state: str = "proposed"
    consent: str | None = None
    domains: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    hours: int = 0
    tries: int = 0
    until_ms: int | None = None
    decided_ms: int | None = None
    decided_by: str | None = None
    code: str | None = None
    review: str | None = None
    review_note: str | None = None
    reviewer: str | None = None
    reviewed_ms: int | None = None

    @classmethod
    def from_row(cls, row: Row) -> AccessRequest:
        """Build a request from its row."""
        values = dict(row)
        values["domains"] = tuple(json.loads(values["domains"]))
        values["details"] = json.loads(values["details"])
        return cls(**values)


def insert_request(connection: Connection, request: AccessRequest) -> None:
    """Insert a request."""
    values = {name: getattr(request, name) for name in _COLUMNS.split(", ")}
    values["domains"] = json.dumps(list(request.domains))
    values["details"] = json.dumps(dict(request.details))
    placeholders = ", ".join(f":{name}" for name in values)
    connection.execute(
        f"INSERT INTO access_request ({_COLUMNS}) VALUES ({placeholders})",  # noqa: S608 constant columns
        values,
    )


def find_request(connection: Connection, identity: str, kind: str) -> AccessRequest | None:
    """Return a request by id and kind; None without one."""
    requests = select_requests(connection, "id = :id AND kind = :kind", id=identity, kind=kind)
    return requests[0] if requests else None


def select_requests(
    connection: Connection, condition: str, **values: object
) -> Sequence[AccessRequest]:
    """Return the newest requests, at most 200, by an SQL condition. Never built of user input."""
    return select_in_order(connection, condition, values, "newest")


def select_in_order(
    connection: Connection,
    condition: str,
    values: Mapping[str, object],
    order: Order,
    most: int = _MAX_ROWS,
) -> Sequence[AccessRequest]:
    """Return requests by an SQL condition, which is never built of user input.

    `order` says which come first, and which are left out where there are more than `most`: of what
    waits for somebody never those that wait longest.
    """
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM access_request WHERE {condition}"  # noqa: S608
        f" ORDER BY {_ORDERS[order]} LIMIT :most",
        {**values, "most": most},
    ).fetchall()
    return [AccessRequest.from_row(row) for row in rows]


def decide_request(
    connection: Connection,
    identity: str,
    state: str,
    *,
    by: str,
    now_ms: int,
    until_ms: int | None = None,
    consent: str | None = None,
) -> bool:
    """Change a proposed request to its final state; return False if it was decided or expired."""
    row = connection.execute(
        "UPDATE access_request SET state = :state, decided_by = :decided, decided_ms = :now,"
        " until_ms = :until, consent = COALESCE(:consent, consent), code = NULL"
        " WHERE id = :id AND state = 'proposed' AND expires_ms > :now RETURNING id",
        {
            "state": state,
            "decided": by,
            "now": now_ms,
            "until": until_ms,
            "consent": consent,
            "id": identity,
        },
    ).fetchone()
    return row is not None


def select_overdue(
    connection: Connection, condition: str, now_ms: int, **values: object
) -> Sequence[AccessRequest]:
    """Return proposed requests that have expired."""
    condition_with_expiry = f"state = 'proposed' AND expires_ms <= :now AND {condition}"
    return select_requests(connection, condition_with_expiry, now=now_ms, **values)
