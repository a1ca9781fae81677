"""`$approve-access`: the patient approves a step-up request on their own page."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import approvals
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="approve-access",
    summary="Let the patient approve a request on the own page.",
    levels=("system",),
    affects_state=True,
    callers="the patient",
    parameters=(Parameter("request", "id", "The request, as `$access-requests` lists it", 1),),
)


def answer(call: OperationCall) -> Response:
    """Approve the request."""
    request_id = call.parse_body().text("request")
    return call.respond(
        *build_request_parts(approvals.answer_step_up(call.context, request_id, approves=True))
    )
