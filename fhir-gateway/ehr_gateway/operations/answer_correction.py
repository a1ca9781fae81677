"""`$answer-correction`: the author of a record answers a patient's request for a correction."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests.correction_requests import OUTCOMES, answer_correction
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="answer-correction",
    summary="Accept or refuse a patient's request for a correction, with the reason.",
    levels=("system",),
    affects_state=True,
    callers="a clinician of the organisation that wrote the record",
    parameters=(
        Parameter("request", "id", "The request", 1),
        Parameter("outcome", "code", "`accepted` or `refused`", 1),
        Parameter("reason", "string", "The answer, in words for the patient", 1),
    ),
)


def answer(call: OperationCall) -> Response:
    """Keep the answer and tell the patient that there is one."""
    sent = call.parse_body()
    outcome = sent.code("outcome", OUTCOMES)
    reason = call.parse_reason(sent)
    answer_correction(call.context, sent.text("request"), outcome, reason)
    return call.respond(parameter("state", outcome))
