"""The reason of an access: the line of the consent table that permitted it, for the log.

Access by a grant or an emergency is distinguished from what was shared anyway, with the Consent
behind it. This takes one query; only while such a Consent is in force it takes more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ehr_gateway.database import Connection, Row
from ehr_gateway.tokens.access_tokens import Subject
from ehr_privacy.consent import Requester, compile_predicate, parse_scopes

__all__ = [
    "COUNTED",
    "FEED",
    "LISTED",
    "NAMED",
    "OPENED",
    "SHARED",
    "Reason",
    "find_reason",
    "reason_without_grants",
]

# Reasons of a row that disclosed no record of the patient: the request named them, or counted them.
NAMED, COUNTED = "named", "counted"
# A restriction covers the records no more, since the request changed a record that they name.
OPENED = "opened"
# The lake takes every change, whatever is shared with whom.
FEED = "feed"
# The row of a list of patients; the reason of each stands with them (`listed_patients`).
LISTED = "listed"

_SELECT_GRANTS = " UNION ALL ".join(
    f"SELECT '{kind}' AS kind, consent, {domain} AS domain FROM consent_{kind}"  # noqa: S608
    " WHERE patient = :patient AND person = :person AND organization = :organization"
    " AND since <= :now AND (until IS NULL OR :now < until)"
    for kind, domain in (("emergency", "'*'"), ("grant", "domain"))
)
_ALL_SCOPES = parse_scopes("user/*.cruds")


@dataclass(frozen=True)
class Reason:
    """The reason code, and the Consent of a grant or an emergency."""

    code: str
    consent: str | None = None


SHARED = Reason("shared")


def reason_without_grants(
    subject: Subject, records: Collection[tuple[int, str | None, str | None]]
) -> Reason:
    """Return why a requester for whom no grant is in force could see records of a patient.

    The records are given as (position, domain, author).
    """
    if subject.role not in ("clinician", "system"):
        return Reason("own" if subject.role == "patient" else subject.role)
    is_foreign = any(author != subject.organization for _, _, author in records)
    return SHARED if is_foreign else Reason("own-record")


def find_reason(
    connection: Connection,
    subject: Subject,
    now_ms: int,
    patient: str,
    records: Collection[tuple[int, str | None, str | None]],
) -> Reason:
    """Return why a requester could see a patient's records: (position, domain, author) of each."""
    without_grants = reason_without_grants(subject, records)
    if without_grants != SHARED:
        return without_grants
    foreign_records = [
        (position, domain) for position, domain, author in records if author != subject.organization
    ]
    person = subject.person or subject.login
    grants = connection.execute(
        _SELECT_GRANTS,
        {
            "patient": patient,
            "person": person,
            "organization": subject.organization,
            "now": now_ms,
        },
    ).fetchall()
    if not grants:
        return without_grants
    emergency = next((row for row in grants if row["kind"] == "emergency"), None)
    if emergency:
        return Reason("emergency", emergency["consent"])
    return (
        _find_grant_reason(connection, subject, now_ms, foreign_records, grants) or without_grants
    )


def _find_grant_reason(
    connection: Connection,
    subject: Subject,
    now_ms: int,
    records: Collection[tuple[int, str | None]],
    grants: Collection[Row],
) -> Reason | None:
    """Return the first grant without which one of the records would have been closed."""
    for position, domain in records:
        grant = next((row for row in grants if row["domain"] in (domain, "*")), None)
        if grant and not _is_open_without_grant(connection, subject, now_ms, position):
            return Reason("grant", grant["consent"])
    return None


def _is_open_without_grant(
    connection: Connection, subject: Subject, now_ms: int, position: int
) -> bool:
    # What a colleague of the same profession sees, whom no grant names.
    colleague = Requester(
        role=subject.role,
        person="",
        organization=subject.organization,
        profession=subject.profession,
        scopes=_ALL_SCOPES,
    )
    predicate = compile_predicate(colleague, "read", now_ms)
    row = connection.execute(
        f"SELECT 1 FROM resource r WHERE r.position = :position AND {predicate.sql}",  # noqa: S608
        {**predicate.params, "position": position},
    ).fetchone()
    return row is not None
