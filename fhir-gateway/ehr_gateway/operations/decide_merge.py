"""`$decide-merge`: a second steward merges two Patients, takes a merge apart, or refuses it."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests.merge_decisions import decide_merge
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="decide-merge",
    summary="Approve a merge of two Patients, or its undoing, or refuse it.",
    levels=("system",),
    affects_state=True,
    callers="a steward, not the person who proposed it",
    parameters=(
        Parameter("merge", "id", "The proposal, as `$merges` lists it", 1),
        Parameter("decision", "code", "`approve` or `refuse`", 1),
        Parameter("reason", "string", "Why: the papers that were seen, or what speaks against", 1),
    ),
)
_DECISIONS = ("approve", "refuse")


def answer(call: OperationCall) -> Response:
    """Write both Patients, or leave them as they are."""
    sent = call.parse_body()
    outcome = decide_merge(
        call.context,
        sent.text("merge"),
        approve=sent.code("decision", _DECISIONS) == "approve",
        reason=call.parse_reason(sent),
    )
    return call.respond({"name": "outcome", "valueCode": outcome})
