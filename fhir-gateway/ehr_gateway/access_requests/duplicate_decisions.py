"""The steward's worklist of Patients that may be one person's, and what is decided of a pair.

A merge of the two is proposed by `merge_requests`; here a pair is put off, or said to be two
people's, which changes neither Patient.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ehr_fhir.errors import NotFound
from ehr_fhir.json_text import parse
from ehr_gateway.access_requests.merge_requests import WAITING_MERGE
from ehr_gateway.access_requests.request_rows import select_in_order
from ehr_gateway.access_requests.role_checks import require_role
from ehr_gateway.access_requests.step_transaction import step_transaction
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext

__all__ = [
    "DUPLICATE_STATES",
    "OPEN_DUPLICATES",
    "Duplicate",
    "decide_duplicate",
    "list_duplicates",
]

DUPLICATE_STATES = ("open", "later", "different")
_STEWARD = frozenset({"steward"})
# Both are there still, and nobody has linked them.
_FROM = (
    " FROM duplicate_candidate d"
    " JOIN resource f ON f.type = 'Patient' AND f.id = d.first AND f.current = 1 AND f.deleted = 0"
    " JOIN resource s ON s.type = 'Patient' AND s.id = d.second AND s.current = 1"
    " AND s.deleted = 0 WHERE d.state = :state AND NOT EXISTS (SELECT 1 FROM consent_link l"
    " WHERE (l.patient = d.first AND l.other = d.second)"
    " OR (l.patient = d.second AND l.other = d.first))"
)
# Of the pairs nobody has decided, how many: with `state` open.
OPEN_DUPLICATES = f"SELECT count(*){_FROM}"


@dataclass(frozen=True)
class Duplicate:
    """Two Patients as they are now, and why they may be one person's."""

    first: Mapping[str, Any]
    second: Mapping[str, Any]
    # A probability, from 0 to 1.
    score: float
    # Element -> how it agrees.
    levels: Mapping[str, str]
    found_ms: int
    # Whether a merge of the two waits for its decision.
    is_proposed: bool
    display: str | None
    reason: str | None
    decided_ms: int | None


def list_duplicates(
    connection: Connection, context: RequestContext, state: str, most: int
) -> tuple[int, Sequence[Duplicate]]:
    """Return how many pairs there are in a state, and the likeliest of them."""
    require_role(context, _STEWARD)
    total = int(connection.execute(OPEN_DUPLICATES, {"state": state}).fetchone()[0])
    rows = connection.execute(
        "SELECT d.first, d.second, d.score, d.levels, d.found_ms, d.display, d.reason,"
        f" d.decided_ms, f.body AS first_body, s.body AS second_body{_FROM}"
        " ORDER BY d.score DESC, d.first, d.second LIMIT :most",
        {"state": state, "most": most},
    ).fetchall()
    waiting = {
        frozenset((request.patient, str(request.details["target"])))
        for request in select_in_order(
            connection, WAITING_MERGE, {"now": context.access.now_ms}, "oldest", most=10_000
        )
    }
    return total, [
        Duplicate(
            first=parse(row["first_body"]),
            second=parse(row["second_body"]),
            score=row["score"] / 1_000_000,
            levels=json.loads(row["levels"]),
            found_ms=row["found_ms"],
            is_proposed=frozenset((row["first"], row["second"])) in waiting,
            display=row["display"],
            reason=row["reason"],
            decided_ms=row["decided_ms"],
        )
        for row in rows
    ]


def decide_duplicate(
    context: RequestContext, one: str, other: str, state: str, reason: str | None
) -> None:
    """Put a pair off, say that it is two people's, or open it again; neither Patient changes.

    Raises NotFound for a pair that is not on the list.
    """
    require_role(context, _STEWARD)
    first, second = sorted((one, other))
    is_open = state == "open"
    with step_transaction(context, "$decide-duplicate") as step:
        row = step.connection.execute(
            "UPDATE duplicate_candidate SET state = ?, person = ?, display = ?, reason = ?,"
            " decided_ms = ? WHERE first = ? AND second = ? RETURNING first",
            (
                state,
                None if is_open else context.access.requester.person,
                None if is_open else context.caller.subject.display,
                None if is_open else reason,
                None if is_open else context.access.now_ms,
                first,
                second,
            ),
        ).fetchone()
        if row is None:
            raise NotFound("There is no such pair on the list.")
        step.patients += [first, second]
        step.entities += [f"Patient/{first}", f"Patient/{second}"]
