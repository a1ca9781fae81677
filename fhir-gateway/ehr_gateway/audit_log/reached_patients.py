"""Whose records a person, an organisation, a client or emergency access reached in a period.

It counts rows that disclosed or changed something of a patient, told who looked at them or who acts
for them, or copied their changes by the feed; a patient who was only named or counted was not
reached.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ehr_gateway.audit_log.counted_sets import set_numbers
from ehr_gateway.audit_log.reasons import COUNTED, FEED, NAMED, OPENED
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
# These tell something of a patient beside their records: who looked, who acts for them, what they
# chose, and what was asked for. Their rows name no record.
_TELLS = (
    "substr(query, 1, 10) = 'AuditEvent' OR query IN ('$access-history', '$access-requests',"
    " '$access-reviews', '$carers', '$choices')"
)


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
        f" AND (entities <> '[]' OR domains <> '' OR {_TELLS})"
        " GROUP BY patient, interaction, domains, reason ORDER BY patient",
        {"subject": subject, "since": since_ms, "until": until_ms},
    )
    reached: dict[str, ReachedPatient] = {}
    for row in rows:
        found = _note_access(
            reached, row["patient"], row["first_ms"], row["last_ms"], times=row["times"]
        )
        found.changes += row["times"] if row["interaction"] in WRITES else 0
        found.by_emergency = found.by_emergency or row["reason"] == "emergency"
        found.domains.update(row["domains"].split())
    # A page of the feed with many patients is one row that carries them as a set.
    people = {
        int(row["number"]): str(row["patient"])
        for row in connection.execute(
            "SELECT number, patient FROM audit_person WHERE patient IS NOT NULL"
        )
    }
    sets = connection.execute(
        "SELECT audit.at_ms, c.block, c.bits FROM audit JOIN audit_counted c ON c.event = audit.id"  # noqa: S608
        f" WHERE {_CONDITIONS[kind]} AND at_ms >= :since AND at_ms < :until AND outcome = '0'"
        f" AND patient IS NULL AND reason = '{FEED}'",
        {"subject": subject, "since": since_ms, "until": until_ms},
    )
    for at_ms, block, bits in sets:
        for number in set_numbers(int(block), bytes(bits)):
            if number in people:
                _note_access(reached, people[number], at_ms, at_ms, times=1)
    return [reached[patient] for patient in sorted(reached)]


def _note_access(
    reached: dict[str, ReachedPatient], patient: str, first_ms: int, last_ms: int, *, times: int
) -> ReachedPatient:
    found = reached.setdefault(patient, ReachedPatient(patient, first_ms, last_ms))
    found.first_ms, found.last_ms = min(found.first_ms, first_ms), max(found.last_ms, last_ms)
    found.accesses += times
    return found
