"""Memberships by account: which organisation a person works for, as the consent rules ask it.

A record that names nobody as its author may be by whoever belongs to its author organisation
(docs/explanation/consent.md). An account has no dates, so it says so of every date, and goes on
saying so when it is disabled or moves to another organisation: rows are added and never removed.
"""

from __future__ import annotations

from ehr_gateway.database import Connection
from ehr_gateway.store.decision_changes import mark_author_person

__all__ = ["add_membership"]

# The source of such a row, which no resource's id equals: ids have no slash.
_SOURCE = "account/"


def add_membership(connection: Connection, login: str, person: str, organization: str) -> bool:
    """Add what an account says of its owner; return whether that is new."""
    values = (f"{_SOURCE}{login}", person, organization)
    known = connection.execute(
        "SELECT 1 FROM consent_membership"
        " WHERE consent = ? AND practitioner = ? AND organization = ?",
        values,
    ).fetchone()
    if known is None:
        connection.execute(
            "INSERT INTO consent_membership (consent, practitioner, organization, since)"
            " VALUES (?, ?, ?, 0)",
            values,
        )
        mark_author_person(connection, person)
    return known is None
