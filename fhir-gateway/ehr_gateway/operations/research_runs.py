"""`$research-runs`: the runs of a project, how far they are, and their log."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.operations._research_projects import name_audit_entities
from ehr_gateway.operations._research_work import (
    CHECKERS,
    PEOPLE,
    begin_work,
    build_run_parameter,
    read_query,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="research-runs",
    summary="List the runs of a research project with their state and the platform's log of each.",
    levels=("system",),
    affects_state=False,
    callers=f"{PEOPLE}; {CHECKERS}",
    parameters=(Parameter("project", "id", "The project, as `$research-projects` lists it", 1),),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with a `run` for each, oldest first."""
    work, person = begin_work(call.context, checkers=True)
    project = read_query(call, "project")["project"]
    runs = work.list_runs(person, project)
    call.record(entities=name_audit_entities(project))
    return call.respond(*map(build_run_parameter, runs))
