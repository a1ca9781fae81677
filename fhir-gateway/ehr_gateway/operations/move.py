"""`$move`: a steward moves a record to the patient whose it is."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import record_corrections
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation, Parameter

OPERATION = Operation(
    name="move",
    summary="Move a record from one patient to another, as its next version.",
    levels=("instance",),
    resource_types=(ANY_TYPE,),
    affects_state=True,
    callers="a steward",
    parameters=(
        Parameter("patient", "id", "The patient whose record it is", 1),
        Parameter("from", "id", "Whose it is not; needed for a record of several patients"),
        Parameter("reason", "string", "On whose request, and why", 1),
    ),
)


def answer(call: OperationCall) -> Response:
    """Store the next version; both patients are told."""
    sent = call.parse_body()
    record_corrections.move_record(
        call.context,
        call.resource_type,
        call.logical_id,
        sent.text("patient"),
        sent.optional_text("from"),
        call.parse_reason(sent),
    )
    return call.respond(parameter("moved", True))
