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
    name_audit_entities,
    require_projects,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="decide-research",
    summary="Approve, return, open, suspend, resume or close a research project.",
    levels=("system",),
    affects_state=True,
    callers="a steward or an auditor, not of the project; a steward suspends, its applicant closes",
    parameters=(
        Parameter("project", "id", "The project, as `$research-projects` lists it", 1),
        Parameter(
            "decision", "code", "`approve`, `return`, `open`, `suspend`, `resume` or `close`", 1
        ),
        Parameter("reason", "string", "Why; the applicant reads it", 1),
        Parameter(
            "digest",
            "string",
            "To approve: the `digest` of the application that was read; 409 when it is another",
        ),
    ),
    required_scope=None,
)
_DECISIONS = ("approve", "return", "open", "suspend", "resume", "close")
# They stop a project at once and alone.
_ROLES_SUSPENDING = frozenset({"steward"})


def answer(call: OperationCall) -> Response:
    """Take the step, and answer with the project as it is then."""
    context = call.context
    projects = require_projects(context, APPROVER_ROLES | APPLICANT_ROLES)
    sent = call.parse_body()
    decision = sent.code("decision", _DECISIONS)
    if decision != "close":
        deciding = _ROLES_SUSPENDING if decision == "suspend" else APPROVER_ROLES
        if context.access.requester.role not in deciding:
            raise Forbidden(f"This is for {', '.join(sorted(deciding))}.")
    reason = call.parse_reason(sent)
    project = find_project(context, projects, sent.text("project")).application.id
    with context.gateway.store.read_transaction() as connection:
        names = list_names_of_person(connection, context.caller.subject.login)
    after = projects.decide(
        context.access.requester.person,
        names,
        project,
        decision,
        reason,
        digest=sent.text("digest") if decision == "approve" else None,
    )
    call.record(entities=name_audit_entities(project))
    return call.respond(build_project_parameter(after))
