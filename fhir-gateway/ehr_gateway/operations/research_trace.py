"""`$research-trace`: from which data, rules and decisions a released table was made."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, Invalid, Unavailable
from ehr_gateway.audit_log.service import audit_log_of
from ehr_gateway.audit_log.trace import trace_release
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._research_projects import APPROVER_ROLES
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_privacy.audit import TraceLine

OPERATION = Operation(
    name="research-trace",
    summary="Show from which data, rules and decisions a released table was made, with proofs.",
    levels=("system",),
    affects_state=False,
    callers="a steward, an auditor",
    parameters=(Parameter("release", "string", "The id of the released run", 1),),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with `sound`, a `line` for each thing shown or not, and the `proof` for a witness."""
    context = call.context
    if context.access.requester.role not in APPROVER_ROLES:
        raise Forbidden(f"This is for {', '.join(sorted(APPROVER_ROLES))}.")
    source = context.gateway.releases
    if source is None:
        raise Unavailable("This gateway is served without the lake.")
    release = dict(call.query).get("release", "")
    if not release:
        raise Invalid("The parameter release is missing.", expression="release")
    trace = trace_release(audit_log_of(context.request), source, release)
    call.record(entities=[f"Basic/{release}"])
    return call.respond(
        parameter("sound", trace.is_sound),
        *map(_build_line, trace.lines),
        parameter("proof", orjson.dumps(trace.document).decode()),
    )


def _build_line(line: TraceLine) -> dict[str, Any]:
    parts = [
        parameter("part", line.part),
        {"name": "state", "valueCode": line.state},
        parameter("text", line.text),
        {"name": "message", "valueCode": line.message},
    ]
    parts += [
        {"name": "value", "part": [parameter("name", name), parameter("text", value)]}
        for name, value in line.values.items()
    ]
    if line.leaf is not None:
        # Not an integer: those of FHIR end at two thousand million.
        parts.append({"name": "leaf", "valueDecimal": line.leaf})
    return {"name": "line", "part": parts}
