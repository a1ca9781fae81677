"""`$findings`: the steward's worklist of versions that break a rule of quality."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.access_requests.quality_findings import list_findings
from ehr_gateway.operations._findings import build_finding_parts
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="findings",
    summary="List the versions that break a rule of quality and wait for a decision, oldest first.",
    levels=("system",),
    affects_state=False,
    callers="a steward; one of an organisation for what it wrote",
    parameters=(
        Parameter("organization", "id", "Who wrote them"),
        Parameter("rule", "string", "A rule that they break"),
        Parameter("state", "code", "`open` (when nothing is said) or `decided`"),
    ),
)
_MOST = 500


def answer(call: OperationCall) -> Response:
    """List them without anything of their content."""
    asked = dict(call.query)
    state = asked.get("state", "open")
    if state not in ("open", "decided"):
        raise Invalid("The state is open or decided.", expression="state")
    with call.context.gateway.store.read_transaction() as connection:
        findings = list_findings(
            connection,
            call.context.access.requester,
            organization=asked.get("organization"),
            rule=asked.get("rule"),
            state=state,
            limit=_MOST,
        )
    call.record(entities=[finding.record for finding in findings])
    return call.respond(
        *({"name": "finding", "part": list(build_finding_parts(finding))} for finding in findings)
    )
