"""`$research-projects`: research projects, their state, and the steps on record."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._research_projects import (
    APPLICANT_ROLES,
    APPROVER_ROLES,
    build_project_parameter,
    list_visible_projects,
    require_projects,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation
from ehr_gateway.research_projects import ResearchProject

OPERATION = Operation(
    name="research-projects",
    summary="List research projects: to patients what open ones are for, to others their own.",
    levels=("system",),
    affects_state=False,
    callers="a researcher, a clinician, a steward, an auditor, a patient, a carer",
    required_scope=None,
)
# They read what a project is for and what it works with, and nobody's name.
_PUBLIC_ROLES = frozenset({"patient", "carer"})


def answer(call: OperationCall) -> Response:
    """Answer with a `project` for each, by id."""
    context = call.context
    roles = APPLICANT_ROLES | APPROVER_ROLES | _PUBLIC_ROLES
    projects = require_projects(context, roles)
    call.record()
    if context.access.requester.role in _PUBLIC_ROLES:
        open_ones = [project for project in projects.list_projects() if project.state == "open"]
        return call.respond(*map(_build_public_parameter, open_ones))
    visible = list_visible_projects(context, projects)
    is_for_approver = context.access.requester.role in APPROVER_ROLES
    return call.respond(
        *(build_project_parameter(project, is_for_approver=is_for_approver) for project in visible)
    )


def _build_public_parameter(project: ResearchProject) -> dict[str, Any]:
    application = project.application
    opened = next((event.at for event in project.events if event.action == "open"), "")
    return {
        "name": "project",
        "part": [
            parameter("title", application.title),
            parameter("purpose", application.purpose),
            parameter("ethics", application.ethics),
            *([{"name": "opened", "valueInstant": opened}] if opened else []),
            {"name": "to", "valueDate": application.last_day},
            *({"name": "type", "valueCode": resource} for resource in project.resources),
        ],
    }
