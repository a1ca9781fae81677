"""`$request-correction`: a patient asks the author of a record to correct it, in words."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests.correction_requests import request_correction
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="request-correction",
    summary="Ask the organisation that wrote a record to correct it.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=True,
    callers="the patient, who decides for them",
    parameters=(
        Parameter("record", "string", "The record, `Type/id`", 1),
        Parameter("text", "string", "What is wrong, and what it should say", 1),
    ),
)


def answer(call: OperationCall) -> Response:
    """Put the request before the organisation; answer with its id."""
    sent = call.parse_body()
    text = call.parse_reason(sent, "text")
    request = request_correction(call.context, call.logical_id, sent.text("record"), text)
    return call.respond(parameter("id", request.id), parameter("state", request.state))
