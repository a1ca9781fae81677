"""`$decide-duplicate`: a steward says that two Patients are two people's, or puts the pair off."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests.duplicate_decisions import DUPLICATE_STATES, decide_duplicate
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="decide-duplicate",
    summary="Say that two Patients are two people's, put the pair off, or open it again.",
    levels=("system",),
    affects_state=True,
    callers="a steward",
    parameters=(
        Parameter("first", "id", "One of the two, as `$duplicates` lists the pair", 1),
        Parameter("second", "id", "The other", 1),
        Parameter("decision", "code", "`different`, `later` or `open`", 1),
        Parameter("reason", "string", "Why; needed for `different`"),
    ),
)


def answer(call: OperationCall) -> Response:
    """Keep the decision; neither Patient changes."""
    sent = call.parse_body()
    decision = sent.code("decision", DUPLICATE_STATES)
    is_reasoned = decision == "different" or sent.has("reason")
    reason = call.parse_reason(sent) if is_reasoned else None
    decide_duplicate(call.context, sent.text("first"), sent.text("second"), decision, reason)
    return call.respond({"name": "outcome", "valueCode": decision})
