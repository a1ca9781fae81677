"""`$attach-statement`: what the patient says beside a record whose correction was refused."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests.correction_requests import attach_statement
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="attach-statement",
    summary="Attach the patient's statement to a record whose correction was refused.",
    levels=("system",),
    affects_state=True,
    callers="the patient, who decides for them",
    parameters=(
        Parameter("request", "id", "The request that was refused", 1),
        Parameter("text", "string", "The statement; an earlier one is replaced", 1),
    ),
)


def answer(call: OperationCall) -> Response:
    """Keep the statement with the record."""
    sent = call.parse_body()
    text = call.parse_reason(sent, "text")
    attach_statement(call.context, sent.text("request"), text)
    return call.respond(parameter("state", "refused"))
