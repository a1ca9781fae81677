"""`$hold`: a clinician keeps a result from the patient for a time."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import holds
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.access_requests.role_checks import require_clinician
from ehr_gateway.operations._terms import end_of_term
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation, Parameter

OPERATION = Operation(
    name="hold",
    summary="Keep a result from the patient until a date.",
    levels=("instance",),
    resource_types=(ANY_TYPE,),
    affects_state=True,
    callers="a clinician of the organisation that wrote it",
    parameters=(
        Parameter("reason", "string", "Why; it is not told to the patient", 1),
        Parameter("until", "dateTime", "When it ends; a date holds to its own end", 1),
    ),
)


def answer(call: OperationCall) -> Response:
    """Store the hold as a Consent of category `hold`."""
    context, sent = call.context, call.parse_body()
    hold = holds.hold_result(
        context,
        require_clinician(context),
        call.resource_type,
        call.logical_id,
        reason=call.parse_reason(sent),
        until_ms=end_of_term(sent),
    )
    return call.respond(*build_request_parts(hold))
