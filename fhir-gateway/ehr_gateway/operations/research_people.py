"""`$research-people`: who works with data, by their affiliation and training on record."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.accounts.accounts import list_names_of_person
from ehr_gateway.operations._research_projects import (
    APPLICANT_ROLES,
    APPROVER_ROLES,
    build_researcher_parameter,
    require_projects,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="research-people",
    summary="List who works with data: affiliation, training on record, projects.",
    levels=("system",),
    affects_state=False,
    callers="a steward, an auditor; a researcher, a clinician of themselves",
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with a `researcher` for each, by person."""
    context = call.context
    researchers = require_projects(context, APPLICANT_ROLES | APPROVER_ROLES).list_researchers()
    if context.access.requester.role in APPLICANT_ROLES:
        with context.gateway.store.read_transaction() as connection:
            names = list_names_of_person(connection, context.caller.subject.login)
        researchers = [each for each in researchers if each.person in names]
    call.record()
    return call.respond(*map(build_researcher_parameter, researchers))
