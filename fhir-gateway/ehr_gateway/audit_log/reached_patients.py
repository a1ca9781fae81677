"""Whose records a person, an organisation, a client or emergency access reached in a period.

It counts rows that disclosed or changed something of a patient; a patient who was only named or
counted was not reached.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ehr_gateway.audit_log.reasons import COUNTED, NAMED, OPENED
from ehr_gateway.database import Connection
from ehr_gateway.interaction_codes import WRITES
from ehr_gateway.schema.audit_log import ALL_ROWS

__all__ = ["ReachedPatient", "find_reached_patients"]

_CONDITIONS = {
    "person": "(login = :subject OR login IN (SELECT login FROM account WHERE person = :subject))",
    "organization": "organization = :subject",
    "client": "client = :subject",
    "emergency": "reason = 'emergency'",
}


@dataclass
class ReachedPatient:
    """One patient, and what of their record was reached, when and how often."""

    patient: str
    first_ms: int
    last_ms: int
    accesses: int = 0
    changes: int = 0
    by_emergency: bool = False
    domains: set[str] = field(default_factory=set)


def find_reached_patients(
    connection: Connection, kind: str, subject: str, since_ms: int, until_ms: int
) -> list[ReachedPatient]:
    """Return the patients whose records were reached, in the order of their ids."""
    # Grouped by what differs for the reader, so that a year of a hospital is some thousand rows.
    rows = connection.execute(
        "SELECT patient, interaction, domains, reason, count(*) AS times, min(at_ms) AS first_ms,"  # noqa: S608
        f" max(at_ms) AS last_ms FROM {ALL_ROWS} WHERE {_CONDITIONS[kind]}"
        " AND at_ms >= :since AND at_ms < :until AND outcome = '0' AND patient IS NOT NULL"
        f" AND (reason IS NULL OR reason NOT IN ('{NAMED}', '{COUNTED}', '{OPENED}'))"
        " AND (entities <> '[]' OR domains <> '')"
        " GROUP BY patient, interaction, domains, reason ORDER BY patient",
        {"subject": subject, "since": since_ms, "until": until_ms},
    )
    reached: dict[str, ReachedPatient] = {}
    for row in rows:
        found = reached.setdefault(
            row["patient"], ReachedPatient(row["patient"], row["first_ms"], row["last_ms"])
        )
        found.first_ms = min(found.first_ms, row["first_ms"])
        found.last_ms = max(found.last_ms, row["last_ms"])
        found.accesses += row["times"]
        found.changes += row["times"] if row["interaction"] in WRITES else 0
        found.by_emergency = found.by_emergency or row["reason"] == "emergency"
        found.domains.update(row["domains"].split())
    return list(reached.values())
