"""`$research-count`: about how many people a cohort has, while it is being written."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._research_projects import name_audit_entities
from ehr_gateway.operations._research_work import (
    PEOPLE,
    begin_work,
    build_instant,
    build_step_parameter,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="research-count",
    summary="Count about how many people are left after each step of a cohort.",
    levels=("system",),
    # It takes one of the project's counts.
    affects_state=True,
    callers=PEOPLE,
    parameters=(
        Parameter("project", "id", "The project, as `$research-projects` lists it", 1),
        Parameter("definition", "string", "The cohort as TOML", 1),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with a `step` for each, and with how many counts are left."""
    work, person = begin_work(call.context)
    sent = call.parse_body()
    project = sent.text("project")
    changed = call.context.gateway.store.list_changed_subjects
    counted = work.count(person, project, sent.text("definition"), changed)
    call.record(entities=name_audit_entities(project))
    return call.respond(
        *map(build_step_parameter, counted.steps),
        parameter("left", counted.left),
        parameter("limit", counted.limit),
        *build_instant("until", counted.until),
    )
