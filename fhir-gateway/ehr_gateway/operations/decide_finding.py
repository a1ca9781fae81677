"""`$decide-finding`: a steward releases, rejects or sends back a version with a fault."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests.quality_findings import DECISIONS, decide_finding
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation, Parameter

OPERATION = Operation(
    name="decide-finding",
    summary="Release, reject or send back a version that breaks a rule of quality.",
    levels=("instance",),
    resource_types=(ANY_TYPE,),
    affects_state=True,
    callers="a steward; one of an organisation for what it wrote",
    parameters=(
        Parameter("version", "integer", "The version that was looked at", 1),
        Parameter("decision", "code", "`release`, `reject` or `send-back`", 1),
        Parameter("reason", "string", "Why; for whom it is sent back to, what to mend", 1),
    ),
)


def answer(call: OperationCall) -> Response:
    """Keep the decision; the lake takes it from the feed."""
    sent = call.parse_body()
    decision = sent.code("decision", DECISIONS)
    version = sent.integer("version", 1, 2**31)
    reason = call.parse_reason(sent)
    record = f"{call.resource_type}/{call.logical_id}"
    decide_finding(call.context, record, version, decision, reason)
    return call.respond(parameter("decision", decision))
