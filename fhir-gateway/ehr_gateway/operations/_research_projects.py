"""What the operations on research projects share: who may call, and a project as parameters."""

from __future__ import annotations

from datetime import date
from typing import Any

from ehr_fhir.errors import Forbidden, NotFound, Unavailable, Unprocessable
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.operation_parameters import OperationParameters
from ehr_gateway.http.parameters import parameter
from ehr_gateway.research_projects import Researcher, ResearchProject, ResearchProjects

__all__ = [
    "APPLICANT_ROLES",
    "APPROVER_ROLES",
    "build_project_parameter",
    "build_researcher_parameter",
    "find_project",
    "list_visible_projects",
    "name_audit_entities",
    "parse_day",
    "require_projects",
]

APPLICANT_ROLES = frozenset({"researcher", "clinician"})
APPROVER_ROLES = frozenset({"steward", "auditor"})


def name_audit_entities(project: str, *runs: str) -> list[str]:
    """Return the references by which the audit log says which project and runs a call was about."""
    return [f"ResearchStudy/{project}", *(f"Basic/{run}" for run in runs)]


def require_projects(context: RequestContext, roles: frozenset[str]) -> ResearchProjects:
    """Return the projects; Forbidden for other roles, Unavailable without the lake."""
    requester = context.access.requester
    if requester.role not in roles or not requester.person:
        raise Forbidden(f"This is for {', '.join(sorted(roles))}.")
    projects = context.gateway.projects
    if projects is None:
        raise Unavailable("This gateway is served without the lake.")
    return projects


def list_visible_projects(
    context: RequestContext, projects: ResearchProjects
) -> list[ResearchProject]:
    """Return all projects to approvers, and to others those that they applied for or work in."""
    requester = context.access.requester
    if requester.role in APPROVER_ROLES:
        # A draft is its applicant's alone.
        return [project for project in projects.list_projects() if project.state != "draft"]
    names = {requester.person, context.caller.subject.login}
    return [
        project
        for project in projects.list_projects()
        if names & {project.applicant, *project.application.people}
    ]


def find_project(context: RequestContext, projects: ResearchProjects, name: str) -> ResearchProject:
    """Return a project that the caller may see; NotFound for others as for none."""
    for project in list_visible_projects(context, projects):
        if project.application.id == name:
            return project
    raise NotFound("There is no such project.")


def build_project_parameter(
    project: ResearchProject, *, is_for_approver: bool = False
) -> dict[str, Any]:
    """Return a project as a multi-part parameter; what concerns others' to who decides alone."""
    application = project.application
    parts = [
        parameter("id", application.id),
        parameter("title", application.title),
        parameter("purpose", application.purpose),
        parameter("ethics", application.ethics),
        parameter("applicant", project.applicant),
        parameter("state", project.state),
        parameter("key", project.has_key),
        parameter("digest", project.digest),
        {"name": "from", "valueDate": application.first_day},
        {"name": "to", "valueDate": application.last_day},
        {"name": "dates", "valueCode": application.dates},
        *(
            [parameter("rare-code-persons", application.rare_code_persons)]
            if application.rare_code_persons
            else []
        ),
        *(parameter("person", person) for person in application.people),
        *(parameter("item", item) for item in application.items),
        *(parameter("approver", person) for person in project.approvers),
    ]
    parts += [
        {"name": "justification", "part": [parameter("view", view), parameter("text", text)]}
        for view, text in application.justifications.items()
    ]
    for other in project.combined_dates if is_for_approver else ():
        parts.append(
            {
                "name": "combined-dates",
                "part": [
                    parameter("project", other.project),
                    {"name": "dates", "valueCode": other.dates},
                    {"name": "share-undone", "valueDecimal": other.share_undone},
                    parameter("shared-people", other.has_shared_people),
                ],
            }
        )
    for event in project.events:
        words = {
            "who": event.who,
            "action": event.action,
            "after": event.after,
            "reason": event.reason,
        }
        parts.append(
            {
                "name": "event",
                "part": [
                    {"name": "at", "valueInstant": event.at},
                    *(parameter(name, word) for name, word in words.items() if word),
                ],
            }
        )
    return {"name": "project", "part": parts}


def build_researcher_parameter(researcher: Researcher) -> dict[str, Any]:
    """Return somebody's affiliation, training and projects as a multi-part parameter."""
    parts = [
        parameter("person", researcher.person),
        *([parameter("affiliation", researcher.affiliation)] if researcher.affiliation else []),
        *(parameter("project", project) for project in researcher.projects),
    ]
    for training in researcher.trainings:
        days = {"day": training.day, "expires": training.expires}
        parts.append(
            {
                "name": "training",
                "part": [
                    parameter("course", training.course),
                    *({"name": name, "valueDate": day} for name, day in days.items()),
                ],
            }
        )
    return {"name": "researcher", "part": parts}


def parse_day(sent: OperationParameters, name: str) -> str:
    """Return a parameter that is an ISO date."""
    try:
        return date.fromisoformat(sent.text(name)).isoformat()
    except ValueError:
        raise Unprocessable(f"The parameter {name} must be a date.", expression=name) from None
