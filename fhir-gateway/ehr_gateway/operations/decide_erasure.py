"""`$decide-erasure`: a second person approves the erasure of a patient, or refuses it."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.erasure.requests import decide_erasure
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="decide-erasure",
    summary="Approve the erasure of a patient, which deletes their rows at once, or refuse it.",
    levels=("system",),
    affects_state=True,
    callers="a steward, not the person who asked",
    parameters=(
        Parameter("erasure", "id", "The request, as `$erasures` lists it", 1),
        Parameter("decision", "code", "`approve` or `refuse`", 1),
        Parameter("reason", "string", "Why, without naming the patient; it is kept", 1),
    ),
    required_scope=None,
)
_DECISIONS = ("approve", "refuse")


def answer(call: OperationCall) -> Response:
    """Erase, or keep everything as it is."""
    sent = call.parse_body()
    is_approved = sent.code("decision", _DECISIONS) == "approve"
    decide_erasure(
        call.context,
        call.audit_context,
        sent.text("erasure"),
        approve=is_approved,
        reason=call.parse_reason(sent),
    )
    # The account that was erased may be logged in, in whatever process.
    call.context.gateway.revocations.notify_processes()
    return call.respond({"name": "outcome", "valueCode": "erased" if is_approved else "refused"})
