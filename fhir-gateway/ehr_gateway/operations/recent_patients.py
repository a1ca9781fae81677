"""`$recent-patients`: the patients whose records a clinician opened lately, by the audit log."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Forbidden
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._opened_records import find_opened_records
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="recent-patients",
    summary="List the patients whose records the caller opened lately and may still read.",
    levels=("system",),
    affects_state=False,
    callers="a clinician",
)


def answer(call: OperationCall) -> Response:
    """List the patients, the one opened last first."""
    context = call.context
    if context.access.requester.role != "clinician":
        raise Forbidden("This is for clinicians.")
    # So that what was opened a moment ago is found.
    context.gateway.audit_batcher.flush()
    with context.gateway.store.read_transaction() as connection:
        opened = find_opened_records(connection, context)
    call.record()
    return call.respond(
        *(
            {
                "name": "patient",
                "part": [
                    parameter("id", record.patient),
                    {"name": "opened", "valueInstant": format_instant(record.opened_ms)},
                ],
            }
            for record in opened
        )
    )
