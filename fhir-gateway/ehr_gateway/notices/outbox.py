"""The outbox of notices: queued in the transaction of the event they are about."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_gateway.database import Connection, Row
from ehr_gateway.ids import new_id

__all__ = [
    "MOST_UNREAD",
    "Notice",
    "count_unread",
    "list_carer_readers",
    "list_readers",
    "mark_read",
    "patient_reader",
    "queue_notice",
    "select_notices",
]

# More are not counted: a page says "99 or more". Chosen.
MOST_UNREAD = 99

_COLUMNS = "id, cause, kind, patient, reader, person, organization, request, until_ms, made_ms"


@dataclass(frozen=True)
class Notice:
    """A notice to one reader."""

    cause: str
    kind: str
    patient: str
    reader: str
    # The display name of who acted.
    person: str
    organization: str | None
    made_ms: int
    request: str | None = None
    until_ms: int | None = None


def queue_notice(connection: Connection, notice: Notice) -> None:
    """Queue a notice, once for each cause and reader."""
    connection.execute(
        f"INSERT INTO notice ({_COLUMNS}, routed)"  # noqa: S608 constant columns
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT (cause) DO NOTHING",
        (
            new_id(),
            f"{notice.cause}|{notice.reader}",
            notice.kind,
            notice.patient,
            notice.reader,
            notice.person,
            notice.organization,
            notice.request,
            notice.until_ms,
            notice.made_ms,
        ),
    )


def count_unread(connection: Connection, reader: str) -> int:
    """Count a reader's notices that they did not read yet, MOST_UNREAD at most."""
    row = connection.execute(
        "SELECT COUNT(*) FROM (SELECT 1 FROM notice WHERE reader = ? AND read_ms IS NULL"
        " LIMIT ?) AS unread",
        (reader, MOST_UNREAD),
    ).fetchone()
    return int(row[0])


def select_notices(connection: Connection, reader: str, before: str, most: int) -> list[Row]:
    """Return a reader's notices, newest first; with `before` those older than that one of theirs.

    By the id of another reader's notice, or of none, nothing is older.
    """
    older = _place_condition("<", "before") if before else ""
    return connection.execute(
        f"SELECT * FROM notice WHERE reader = :reader{older}"  # noqa: S608 constant texts
        " ORDER BY made_ms DESC, id DESC LIMIT :most",
        {"reader": reader, "most": most, **({"before": before} if before else {})},
    ).fetchall()


def _place_condition(operator: str, parameter: str) -> str:
    """Return SQL that compares a notice's place in the list with that of a notice of its reader."""
    return (
        f" AND EXISTS (SELECT 1 FROM notice bound WHERE bound.id = :{parameter}"  # noqa: S608 constant texts
        f" AND bound.reader = :reader AND (notice.made_ms, notice.id) {operator}"
        " (bound.made_ms, bound.id))"
    )


def mark_read(
    connection: Connection, reader: str, newest: str, now_ms: int, oldest: str = ""
) -> int:
    """Mark a reader's notices up to one of theirs, in the order of the list; return how many.

    With `oldest` from that one on: what a page did not show stays new. Nothing is marked by the id
    of another reader's notice.
    """
    from_oldest = _place_condition(">=", "oldest") if oldest else ""
    return len(
        connection.execute(
            "UPDATE notice SET read_ms = :now WHERE reader = :reader AND read_ms IS NULL"  # noqa: S608 constant texts
            f"{_place_condition('<=', 'newest')}{from_oldest} RETURNING id",
            {
                "now": now_ms,
                "reader": reader,
                "newest": newest,
                **({"oldest": oldest} if oldest else {}),
            },
        ).fetchall()
    )


def patient_reader(patient: str) -> str:
    """Return the reader id of a patient.

    >>> patient_reader("a")
    'Patient/a'
    """
    return f"Patient/{patient}"


def list_carer_readers(connection: Connection, patient: str, now_ms: int) -> list[str]:
    """Return the reader ids of the carers who manage for a patient."""
    rows = connection.execute(
        "SELECT DISTINCT person FROM consent_carer WHERE patient = ? AND can_manage = 1"
        " AND since <= ? AND (until IS NULL OR ? < until) ORDER BY person",
        (patient, now_ms, now_ms),
    ).fetchall()
    return [f"person/{row[0]}" for row in rows]


def list_readers(connection: Connection, patient: str, now_ms: int) -> list[str]:
    """Return the readers to notify about a record: the patient and their managing carers."""
    return [patient_reader(patient), *list_carer_readers(connection, patient, now_ms)]
