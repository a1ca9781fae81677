"""`$decide-identity`: a steward approves or refuses a proposed change of a person's identity."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests.identity_decisions import decide_proposal
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="decide-identity",
    summary="Approve or refuse a proposed change of a person's identity.",
    levels=("system",),
    affects_state=True,
    callers="a steward",
    parameters=(
        Parameter("proposal", "id", "The proposal, as `$identity-proposals` lists it", 1),
        Parameter("decision", "code", "`approve` or `refuse`", 1),
        Parameter("reason", "string", "Why: the papers that were seen, or what speaks against", 1),
    ),
)
_DECISIONS = ("approve", "refuse")


def answer(call: OperationCall) -> Response:
    """Store the proposed version, or leave the record as it is."""
    sent = call.parse_body()
    outcome = decide_proposal(
        call.context,
        sent.text("proposal"),
        approve=sent.code("decision", _DECISIONS) == "approve",
        reason=call.parse_reason(sent),
    )
    return call.respond({"name": "outcome", "valueCode": outcome})
