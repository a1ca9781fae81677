"""`$withdraw`: a steward deletes a record, or marks it as a mistake, on request."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import record_corrections
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation, Parameter

OPERATION = Operation(
    name="withdraw",
    summary="Delete a clinical record, or mark it as entered in error, on request.",
    levels=("instance",),
    resource_types=(ANY_TYPE,),
    affects_state=True,
    callers="a steward",
    parameters=(
        Parameter("as", "code", "`deleted` or `entered-in-error`", 1),
        Parameter("reason", "string", "On whose request, and why", 1),
    ),
)


def answer(call: OperationCall) -> Response:
    """Store the next version; the patient is told."""
    sent = call.parse_body()
    record_corrections.withdraw_record(
        call.context,
        call.resource_type,
        call.logical_id,
        sent.code("as", record_corrections.WITHDRAWALS),
        call.parse_reason(sent),
    )
    return call.respond(parameter("withdrawn", True))
