"""Whose records a clinician opened lately, by the audit log; what two operations list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ehr_gateway.access_requests.role_checks import find_visible_patients
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext

__all__ = ["OpenedRecord", "find_opened_records"]

# How far back, and how many. Chosen: a week of shifts, and what a screen shows.
_PERIOD_MS = round(timedelta(days=7) / timedelta(milliseconds=1))
_MOST_PATIENTS = 20
# The newest rows of the log that are looked at. Chosen: a busy day leaves some thousands, and this
# many are read by the index in some ten milliseconds.
_MOST_ROWS = 20_000


@dataclass(frozen=True)
class OpenedRecord:
    """A patient, and when their record was opened last."""

    patient: str
    opened_ms: int


def find_opened_records(connection: Connection, context: RequestContext) -> list[OpenedRecord]:
    """Return the records that the caller opened lately and may still read, newest first."""
    access = context.access
    opened = _find_opened(connection, context.caller.subject.login, access.now_ms)
    visible = find_visible_patients(connection, access, [record.patient for record in opened])
    return [record for record in opened if record.patient in visible][:_MOST_PATIENTS]


def _find_opened(connection: Connection, login: str, now_ms: int) -> list[OpenedRecord]:
    """Return whose records a person opened, newest first.

    To open a record is to read its Patient by id. A search that found it among others, such as that
    of a list of patients, opens nothing.
    """
    rows = connection.execute(
        "SELECT patient, max(at_ms) AS opened_ms FROM ("
        "SELECT patient, at_ms, interaction, entities FROM audit"
        " WHERE login = :login AND at_ms >= :since ORDER BY at_ms DESC, seq DESC LIMIT :rows"
        ") AS newest WHERE interaction = 'read' AND patient IS NOT NULL"
        " AND entities = '[\"Patient/' || patient || '\"]'"
        " GROUP BY patient ORDER BY max(at_ms) DESC",
        {"login": login, "since": now_ms - _PERIOD_MS, "rows": _MOST_ROWS},
    )
    return [OpenedRecord(str(row["patient"]), int(row["opened_ms"])) for row in rows]
