"""`$purge`: ask for the erasure of a patient, which another person has to approve."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.erasure.requests import LINKED_CHOICES, request_erasure
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="purge",
    summary="Ask for the erasure of a patient from the whole platform.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=True,
    callers="an administrator, a steward",
    parameters=(
        Parameter("reason", "string", "Why, without naming the patient; it is kept", 1),
        Parameter(
            "linked", "code", "Of linked accounts: `include` erases all, `leave` this one alone"
        ),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Keep the request; answer with its id, and what it would take as numbers."""
    sent = call.parse_body()
    linked = None
    if sent.optional_text("linked") is not None:
        linked = sent.code("linked", LINKED_CHOICES)
    erasure, extent = request_erasure(
        call.context,
        call.audit_context,
        call.logical_id,
        reason=call.parse_reason(sent),
        linked=linked,
    )
    return call.respond(
        parameter("erasure", erasure),
        *(parameter(name, number) for name, number in extent.parts.items()),
    )
