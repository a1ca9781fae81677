"""Suspensions as operations take and answer them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ehr_fhir.dates import format_instant
from ehr_gateway.database import Connection
from ehr_gateway.http.parameters import parameter
from ehr_gateway.tokens.suspensions import Suspension

__all__ = [
    "ROLES_READING_SUSPENSIONS",
    "ROLES_SUSPENDING",
    "build_suspension_parts",
    "resolve_subject",
]

ROLES_SUSPENDING = frozenset({"steward", "administrator"})
ROLES_READING_SUSPENSIONS = ROLES_SUSPENDING | {"auditor"}


def resolve_subject(connection: Connection, kind: str, subject: str) -> str | None:
    """Return the id by which tokens name what a suspension or a report is about; None if unknown.

    A person is named by a log-in or by the id that their accounts share.
    """
    if kind == "emergency":
        return ""
    statement = {
        "person": "SELECT coalesce(person, login) FROM account"
        " WHERE login = :subject OR person = :subject",
        "organization": "SELECT id FROM resource WHERE type = 'Organization' AND id = :subject"
        " AND current = 1",
        "client": "SELECT id FROM client WHERE id = :subject",
    }[kind]
    row = connection.execute(statement, {"subject": subject}).fetchone()
    return str(row[0]) if row else None


def build_suspension_parts(suspension: Suspension, now_ms: int) -> Iterator[dict[str, Any]]:
    """Yield the parts that tell of a suspension."""
    yield parameter("id", suspension.id)
    yield {"name": "kind", "valueCode": suspension.kind}
    if suspension.subject:
        yield parameter("subject", suspension.subject)
    yield parameter("in-force", suspension.is_in_force(now_ms))
    yield parameter("reason", suspension.reason)
    yield {"name": "since", "valueInstant": format_instant(suspension.since_ms)}
    if suspension.until_ms is not None:
        yield {"name": "until", "valueInstant": format_instant(suspension.until_ms)}
    yield parameter("by", suspension.display)
    if suspension.lifted_ms is not None:
        yield {"name": "lifted", "valueInstant": format_instant(suspension.lifted_ms)}
        yield parameter("lifted-by", suspension.lifted_by)
        yield parameter("lift-reason", suspension.lift_reason)
