"""`$decide-research`: an approver's decision on a research project."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Forbidden
from ehr_gateway.accounts.accounts import list_names_of_person
from ehr_gateway.operations._research_projects import (
    APPLICANT_ROLES,
    APPROVER_ROLES,
    build_project_parameter,
    find_project,
    require_projects,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="decide-research",
    summary="Approve a research project, return it to its applicant, open it or close it.",
    levels=("system",),
    affects_state=True,
    callers="a steward or an auditor, not of the project; its applicant closes it",
    parameters=(
        Parameter("project", "id", "The project, as `$research-projects` lists it", 1),
        Parameter("decision", "code", "`approve`, `return`, `open` or `close`", 1),
        Parameter("reason", "string", "Why; the applicant reads it", 1),
    ),
    required_scope=None,
)
_DECISIONS = ("approve", "return", "open", "close")


def answer(call: OperationCall) -> Response:
    """Take the step, and answer with the project as it is then."""
    context = call.context
    projects = require_projects(context, APPROVER_ROLES | APPLICANT_ROLES)
    sent = call.parse_body()
    decision = sent.code("decision", _DECISIONS)
    if decision != "close" and context.access.requester.role not in APPROVER_ROLES:
        raise Forbidden(f"This is for {', '.join(sorted(APPROVER_ROLES))}.")
    reason = call.parse_reason(sent)
    project = find_project(context, projects, sent.text("project")).application.id
    with context.gateway.store.read_transaction() as connection:
        names = list_names_of_person(connection, context.caller.subject.login)
    after = projects.decide(context.access.requester.person, names, project, decision, reason)
    call.record()
    return call.respond(build_project_parameter(after))
