"""`$recent-patients`: the patients whose records a clinician opened lately, by the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Forbidden
from ehr_gateway.access_requests.role_checks import find_visible_patients
from ehr_gateway.database import Connection
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="recent-patients",
    summary="List the patients whose records the caller opened lately and may still read.",
    levels=("system",),
    affects_state=False,
    callers="a clinician",
)
# How far back, and how many. Chosen: a week of shifts, and what a screen shows.
_PERIOD_MS = round(timedelta(days=7) / timedelta(milliseconds=1))
_MOST_PATIENTS = 20
# The newest rows of the log that are looked at. Chosen: a busy day leaves some thousands, and this
# many are read by the index in some ten milliseconds.
_MOST_ROWS = 20_000


@dataclass(frozen=True)
class _OpenedRecord:
    """A patient, and when their record was opened last."""

    patient: str
    opened_ms: int


def answer(call: OperationCall) -> Response:
    """List the patients, the one opened last first."""
    context = call.context
    if context.access.requester.role != "clinician":
        raise Forbidden("This is for clinicians.")
    # So that what was opened a moment ago is found.
    context.gateway.audit_batcher.flush()
    with context.gateway.store.read_transaction() as connection:
        opened = _find_opened(connection, context.caller.subject.login, context.access.now_ms)
        visible = find_visible_patients(
            connection, context.access, [record.patient for record in opened]
        )
    call.record()
    shown = [record for record in opened if record.patient in visible][:_MOST_PATIENTS]
    return call.respond(
        *(
            {
                "name": "patient",
                "part": [
                    parameter("id", record.patient),
                    {"name": "opened", "valueInstant": format_instant(record.opened_ms)},
                ],
            }
            for record in shown
        )
    )


def _find_opened(connection: Connection, login: str, now_ms: int) -> list[_OpenedRecord]:
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
    return [_OpenedRecord(str(row["patient"]), int(row["opened_ms"])) for row in rows]
