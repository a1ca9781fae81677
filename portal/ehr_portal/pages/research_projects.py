"""Research projects: the catalogue, an application, its decisions, and what is on record."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, EhrError, Forbidden, Invalid, NotFound, Unprocessable
from ehr_portal.gateway.operations import build_parameters, dash_if_empty
from ehr_portal.i18n import N_
from ehr_portal.oversight.research_projects import (
    DATE_FORM_TITLES,
    DATE_FORM_WARNINGS,
    DATES_TELL,
    GRANTED_TITLES,
    Project,
    build_project_id,
    parse_projects,
    parse_tables,
)
from ehr_portal.oversight.researchers import (
    STATE_COLOURS,
    STATE_TITLES,
    Researcher,
    parse_researchers,
)
from ehr_portal.record.sections import TYPE_TITLES
from ehr_portal.research.releases import RECORD_FILE, Release, parse_releases
from ehr_portal.web.forms import FieldError, VerifiedForm, is_day, read_ticked
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import require_role

router = APIRouter()
NAVIGATION = (
    NavigationLink("researcher", "/projects", N_("Projects"), 10),
    NavigationLink("researcher", "/projects/catalogue", N_("Data"), 20),
    *(NavigationLink(role, "/projects", N_("Projects"), 46) for role in ("steward", "auditor")),
    NavigationLink("clinician", "/projects", N_("Projects"), 40, lambda user: user.has_projects),
)
# Who applies for projects and works in them: the gateway lets both.
WORKING_ROLES = ("researcher", "clinician")
ResearcherRequest = Annotated[PortalRequest, Depends(require_role(*WORKING_ROLES))]
ProjectReaderRequest = Annotated[
    PortalRequest, Depends(require_role(*WORKING_ROLES, "steward", "auditor"))
]
DECISION_TITLES = {
    "approve": N_("Approve: the data it asks for fits its purpose"),
    "return": N_("Return it: something has to be changed"),
    "open": N_("Open it: work with its data may begin"),
    "suspend": N_("Suspend it: from now on nothing of it runs or leaves"),
    "resume": N_("Let it go on: two people have to agree"),
    "close": N_("Close it for good: its key is destroyed"),
}
_FIELDS = ("title", "purpose", "ethics", "people", "from", "to", "dates", "rare")
# Of the answers of the gateway: the parameter that is at fault, and what is to be done.
_FAULTS = {
    "title": N_("Write a title."),
    "purpose": N_("Write the question in a sentence."),
    "ethics": N_("Write the reference of the ethics approval."),
    "people": N_("Somebody here has no account of a researcher. Write one log-in on each line."),
    "from": N_("Choose the first and the last day; the last comes after the first."),
    "item": N_("Choose at least one column."),
    "dates": N_("Choose how dates are read."),
    "forms": N_(
        "Choose another form of dates: one of these people works in a project with a form that"
        " tells true days together with this one."
    ),
    "rare": N_("Write a whole number, not below the platform's own, or nothing."),
}


@router.get("/projects")
async def show_projects(request: ProjectReaderRequest) -> Response:
    """List the projects that the reader has a part in; all of them to who decides."""
    answer, people = await asyncio.gather(
        request.gateway.invoke_by_get("$research-projects"), _fetch_people(request)
    )
    return request.render(
        "research_projects.html",
        projects=parse_projects(answer),
        people=people,
        may_apply=request.user.role in WORKING_ROLES,
        TRAINING_TITLES=STATE_TITLES,
        TRAINING_COLOURS=STATE_COLOURS,
        today=request.now.date(),
    )


@router.get("/projects/catalogue")
async def show_catalogue(request: ProjectReaderRequest) -> Response:
    """Show every view with its columns, units and meanings."""
    tables = parse_tables(await request.gateway.invoke_by_get("$research-catalogue"))
    return request.render(
        "research_catalogue.html",
        tables=tables,
        may_apply=request.user.role in WORKING_ROLES,
        TYPE_TITLES=TYPE_TITLES,
    )


@router.get("/projects/new")
async def show_application(request: ResearcherRequest) -> Response:
    """Show the form of a new project."""
    today = request.now.date().isoformat()
    typed = {"people": request.user.login, "from": today, "dates": "quarter"}
    return await _render_application(request, "", typed, [], {})


@router.get("/projects/{project_id}")
async def show_project(request: ProjectReaderRequest, project_id: str) -> Response:
    """Show the application beside the data that it asks for, and the decisions on offer."""
    return await _render_project(request, project_id)


@router.get("/projects/{project_id}/change")
async def show_draft(request: ResearcherRequest, project_id: str) -> Response:
    """Show the form of a draft."""
    project = await _fetch_project(request, project_id)
    typed = {
        "title": project.title,
        "purpose": project.purpose,
        "ethics": project.ethics,
        "people": "\n".join(project.people),
        "from": project.first_day,
        "to": project.last_day,
        "dates": project.dates,
        "rare": str(project.rare_code_persons or ""),
    }
    return await _render_application(
        request, project_id, typed, list(project.items), project.justifications
    )


@router.post("/projects/new")
async def apply(request: ResearcherRequest, form: VerifiedForm) -> Response:
    """Save a new application, or hand it in."""
    suffix = secrets.token_hex(2)
    return await _save(request, form, "", build_project_id(form.get("title", ""), suffix))


@router.post("/projects/{project_id}/change")
async def change_draft(request: ResearcherRequest, form: VerifiedForm, project_id: str) -> Response:
    """Save a draft again, or hand it in."""
    return await _save(request, form, project_id, project_id)


@router.post("/projects/{project_id}")
async def decide(request: ProjectReaderRequest, form: VerifiedForm, project_id: str) -> Response:
    """Record a decision on a project."""
    decision, reason = form.get("decision", ""), form.get("reason", "").strip()
    if decision not in DECISION_TITLES:
        error = FieldError("decision", N_("Choose what you decide."))
        return await _render_project(request, project_id, decision, reason, error)
    parameters = build_parameters(
        project=project_id,
        decision=decision,
        reason=dash_if_empty(reason),
        **({"digest": form.get("digest", "")} if decision == "approve" else {}),
    )
    try:
        await request.gateway.invoke("$decide-research", parameters)
    except Forbidden:
        error = FieldError("decision", N_("Another person has to decide this."))
    except Conflict:
        error = FieldError("decision", N_("The project has changed meanwhile. Look at it again."))
    except Unprocessable:
        error = FieldError("reason", N_("Write the reason in a sentence."))
    else:
        request.flash(N_("Your decision is on record."))
        return request.redirect(f"/projects/{project_id}")
    return await _render_project(request, project_id, decision, reason, error)


async def _save(
    request: PortalRequest, form: Mapping[str, str], draft: str, project_id: str
) -> Response:
    typed = {name: form.get(name, "").strip() for name in _FIELDS}
    items = await read_ticked(request, "item")
    justifications = {
        name.removeprefix("why."): " ".join(text.split())
        for name, text in form.items()
        if name.startswith("why.") and text.strip()
    }
    errors = _find_faults(typed, items)
    if not errors:
        parameters = build_parameters(
            project=project_id,
            title=typed["title"],
            purpose=typed["purpose"],
            ethics=typed["ethics"],
            item=items,
            justification=[f"{view}: {text}" for view, text in justifications.items()],
            person=typed["people"].split(),
            dates=typed["dates"],
            rare_code_persons=int(typed["rare"] or 0),
            **{"from": typed["from"], "to": typed["to"]},
        )
        is_handed_in = form.get("step") == "submit"
        parameters["parameter"].append({"name": "submit", "valueBoolean": is_handed_in})
        try:
            await request.gateway.invoke("$apply-research", parameters)
        except Conflict:
            errors = [FieldError("title", N_("It was handed in already, or its title is taken."))]
        except (Invalid, Unprocessable) as refusal:
            errors = [_name_fault(refusal)]
        else:
            request.flash(
                N_("It is handed in. Two people decide about it.")
                if is_handed_in
                else N_("The draft is saved.")
            )
            return request.redirect(f"/projects/{project_id}")
    return await _render_application(request, draft, typed, items, justifications, errors)


def _find_faults(typed: Mapping[str, str], items: list[str]) -> list[FieldError]:
    faults = [name for name in ("title", "purpose", "ethics", "people") if not typed[name]]
    days = typed["from"], typed["to"]
    if not all(map(is_day, days)) or days[0] > days[1]:
        faults.append("from")
    if not items:
        faults.append("item")
    if typed["dates"] not in DATE_FORM_TITLES:
        faults.append("dates")
    if typed["rare"] and not (typed["rare"].isascii() and typed["rare"].isdecimal()):
        faults.append("rare")
    return [FieldError(name, _FAULTS[name]) for name in faults]


def _name_fault(refusal: EhrError) -> FieldError:
    text = str(refusal)
    if "forms of dates" in text:
        return FieldError("dates", _FAULTS["forms"])
    if "rare code" in text or "rare-code-persons" in text:
        return FieldError("rare", _FAULTS["rare"])
    signs = ("people", "purpose", "title", "ethics")
    name = next((sign for sign in signs if sign in text), "item")
    return FieldError(name, _FAULTS[name])


async def _fetch_project(request: PortalRequest, project_id: str) -> Project:
    answer = await request.gateway.invoke_by_get("$research-projects")
    for project in parse_projects(answer):
        if project.id == project_id:
            return project
    raise NotFound("There is no such project.")


async def _fetch_people(request: PortalRequest) -> list[Researcher]:
    """Return who works with data and their training; a researcher gets themselves."""
    answer = await request.gateway.invoke_by_get("$research-people")
    return parse_researchers(answer, request.now.date())


async def _render_application(
    request: PortalRequest,
    draft: str,
    typed: Mapping[str, str],
    items: list[str],
    justifications: Mapping[str, str],
    errors: list[FieldError] | None = None,
) -> Response:
    tables = parse_tables(await request.gateway.invoke_by_get("$research-catalogue"))
    return request.render(
        "research_application.html",
        action=f"/projects/{draft}/change" if draft else "/projects/new",
        back=f"/projects/{draft}" if draft else "/projects",
        typed={name: typed.get(name, "") for name in _FIELDS},
        items=items,
        justifications=justifications,
        tables=tables,
        GRANTED_TITLES=GRANTED_TITLES,
        DATE_FORM_TITLES=DATE_FORM_TITLES,
        DATE_FORM_WARNINGS=DATE_FORM_WARNINGS,
        TYPE_TITLES=TYPE_TITLES,
        errors=errors or [],
    )


async def _render_project(
    request: PortalRequest,
    project_id: str,
    decision: str = "",
    reason: str = "",
    error: FieldError | None = None,
) -> Response:
    project, catalogue, people = await asyncio.gather(
        _fetch_project(request, project_id),
        request.gateway.invoke_by_get("$research-catalogue"),
        _fetch_people(request),
    )
    tables = parse_tables(catalogue)
    releases = await _fetch_released(request, project)
    offered = project.decisions_for(request.user.login, request.user.role)
    return request.render(
        "research_project.html",
        project=project,
        tables={table.view: table for table in tables},
        may_change=project.state == "draft" and project.applicant == request.user.login,
        may_download=request.user.role in WORKING_ROLES,
        releases=releases,
        RECORD_FILE=RECORD_FILE,
        decisions={name: DECISION_TITLES[name] for name in offered},
        decision=decision,
        reason=reason,
        people={person.person: person for person in people},
        TRAINING_TITLES=STATE_TITLES,
        TRAINING_COLOURS=STATE_COLOURS,
        today=request.now.date(),
        GRANTED_TITLES=GRANTED_TITLES,
        DATE_FORM_TITLES=DATE_FORM_TITLES,
        DATE_FORM_WARNINGS=DATE_FORM_WARNINGS,
        DATES_TELL=DATES_TELL,
        TYPE_TITLES=TYPE_TITLES,
        errors=[error] if error else [],
    )


async def _fetch_released(request: PortalRequest, project: Project) -> list[Release]:
    if not project.was_opened:
        return []
    answer = await request.gateway.invoke_by_get("$research-releases", project=project.id)
    return [release for release in parse_releases(answer) if release.state == "released"]
