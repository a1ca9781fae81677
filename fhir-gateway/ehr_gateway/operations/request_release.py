"""`$request-release`: check a run's results and ask for their release."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.operations._research_projects import name_audit_entities
from ehr_gateway.operations._research_work import (
    PEOPLE,
    begin_work,
    build_release_parameter,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="request-release",
    summary="Put a run's results under disclosure control, check them, and ask for their release.",
    levels=("system",),
    affects_state=True,
    callers=PEOPLE,
    parameters=(
        Parameter("run", "id", "The run, as `$research-runs` lists it", 1),
        Parameter("note", "string", "What the tables are for; checkers read it", 1),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Check them, and answer with the request: `waiting`, or `refused` by a check."""
    work, person = begin_work(call.context)
    sent = call.parse_body()
    release = work.request_release(person, sent.text("run"), call.parse_reason(sent, "note"))
    call.record(entities=name_audit_entities(release.project, release.id))
    return call.respond(build_release_parameter(release))
