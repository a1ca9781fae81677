"""`$refuse-access`: the patient, or who decides for them, refuses a step-up request."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import approvals
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="refuse-access",
    summary="Let the patient, or who decides for them, refuse a request.",
    levels=("system",),
    affects_state=True,
    callers="the patient, a carer who decides for them",
    parameters=(Parameter("request", "id", "The request, as `$access-requests` lists it", 1),),
)


def answer(call: OperationCall) -> Response:
    """Refuse the request."""
    request_id = call.parse_body().text("request")
    return call.respond(
        *build_request_parts(approvals.answer_step_up(call.context, request_id, approves=False))
    )
