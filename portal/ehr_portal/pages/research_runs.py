"""Runs of a project: analyses of a cohort or own code, what became of them, dummy data."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Forbidden, Invalid
from ehr_portal.gateway.operations import build_parameters, dash_if_empty, parse_multi_parts
from ehr_portal.i18n import N_
from ehr_portal.oversight.research_projects import Project
from ehr_portal.pages.research_cohort import (
    MAX_DEFINITION,
    describe_steps,
    fetch_project,
    fetch_run,
    load_draft,
)
from ehr_portal.pages.research_projects import (
    WORKING_ROLES,
    ProjectReaderRequest,
    ResearcherRequest,
)
from ehr_portal.record.form_fields import FormFault
from ehr_portal.research.cohort_form import read_document
from ehr_portal.research.flow_chart import draw_flow
from ehr_portal.research.releases import parse_releases
from ehr_portal.research.runs import RunPage, parse_run_page, parse_runs
from ehr_portal.research.study_form import ANALYSES, build_study, list_choices, may_run
from ehr_portal.web.forms import FieldError, VerifiedForm, translate_faults
from ehr_portal.web.request import PortalRequest

router = APIRouter()
MAX_CODE = 50_000
KIND_TITLES = {"cohort-study": N_("Cohort and analyses"), "code": N_("Own code")}
_NOT_OPEN = N_("Only the people of an open project run studies.")


@router.get("/projects/{project_id}/runs")
async def show_runs(request: ProjectReaderRequest, project_id: str, older: str = "") -> Response:
    """List the runs of a project, the newest first."""
    (project, _), page, answer = await asyncio.gather(
        fetch_project(request, project_id),
        _fetch_runs(request, project_id, older),
        request.gateway.invoke_by_get("$research-releases", project=project_id),
    )
    return request.render(
        "research_runs.html",
        project=project,
        runs=page.runs,
        older=request.session.issue_handle(page.next_cursor) if page.next_cursor else "",
        is_first_page=not older,
        releases={release.id: release for release in parse_releases(answer)},
        may_run=_may_run(request, project),
        KIND_TITLES=KIND_TITLES,
    )


@router.get("/projects/{project_id}/runs/new")
async def show_new_run(
    request: ResearcherRequest, project_id: str, kind: str = "study"
) -> Response:
    """Show the form of analyses of the cohort at hand, or that of own code."""
    project, _ = await fetch_project(request, project_id)
    return _render_new_run(request, project, "code" if kind == "code" else "study", {})


@router.post("/projects/{project_id}/runs/new")
async def start_run(request: ResearcherRequest, form: VerifiedForm, project_id: str) -> Response:
    """Hand a study or code in; it runs in the background."""
    project, _ = await fetch_project(request, project_id)
    ticked = await _read_fields(request)
    kind = form.get("kind", "")
    if kind == "code":
        parameters, faults = _build_code(project, form)
        field = "code"
    else:
        parameters, faults = _build_study(request, project, form, ticked)
        field = "study"
    errors = translate_faults(request, faults)
    if not errors:
        try:
            answer = await request.gateway.invoke("$research-run", parameters)
        except (Conflict, Forbidden):
            errors = [FieldError(field, _NOT_OPEN)]
        except Invalid as refusal:
            errors = [FieldError(field, str(refusal))]
        else:
            run = parse_runs(answer)[0]
            request.flash(N_("It is handed in, and runs when its turn comes."))
            return request.redirect(f"/projects/{project_id}/runs/{run.id}")
    return _render_new_run(request, project, kind or "study", ticked, errors)


@router.get("/projects/{project_id}/runs/{run_id}")
async def show_run(request: ProjectReaderRequest, project_id: str, run_id: str) -> Response:
    """Show a run: its state, log, attrition and definition."""
    return await _render_run(request, project_id, run_id)


@router.post("/projects/{project_id}/runs/{run_id}")
async def request_release(
    request: ResearcherRequest, form: VerifiedForm, project_id: str, run_id: str
) -> Response:
    """Ask for the release of what a run made."""
    note = form.get("note", "").strip()
    parameters = build_parameters(run=run_id, note=dash_if_empty(note))
    try:
        answer = await request.gateway.invoke("$request-release", parameters)
    except Conflict:
        error = FieldError("note", N_("Its release was asked for already, or it has not ended."))
    except Forbidden:
        error = FieldError("note", _NOT_OPEN)
    except Invalid:
        error = FieldError("note", N_("Write in a sentence what the checkers should know."))
    else:
        release = parse_multi_parts(answer, "release")[0]
        request.flash(N_("Its release is asked for. Two people look at it."))
        return request.redirect(f"/projects/{project_id}/releases/{release.id}")
    return await _render_run(request, project_id, run_id, note, error)


@router.get("/projects/{project_id}/dummy")
async def download_dummy(request: ResearcherRequest, project_id: str) -> Response:
    """Send made-up tables of the shape of the project's, for writing code at home."""
    content, media = await request.gateway.download("$research-dummy", project=project_id)
    return send_file(content, media, f"{project_id}-dummy.zip")


def send_file(content: bytes, media: str, name: str) -> Response:
    """Return a file to be kept; nothing in it may run, whatever a browser takes it for."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    headers = {
        "Content-Disposition": f'attachment; filename="{safe.encode("ascii", "replace").decode()}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return Response(content, media_type=media, headers=headers)


async def _fetch_runs(request: PortalRequest, project_id: str, older: str) -> RunPage:
    """Return a page of runs: the newest, or that of a handle."""
    cursor = request.session.resolve_handle(older) if older else None
    following = {"_cursor": cursor} if cursor else {}
    answer = await request.gateway.invoke_by_get("$research-runs", project=project_id, **following)
    return parse_run_page(answer)


def _may_run(request: PortalRequest, project: Project) -> bool:
    return request.user.role in WORKING_ROLES and project.state == "open"


async def _read_fields(request: PortalRequest) -> dict[str, list[str]]:
    """Return all values of all fields: an analysis takes several columns."""
    form = await request.http_request.form()
    return {name: [str(value) for value in form.getlist(name)] for name in form}


def _build_study(
    request: PortalRequest,
    project: Project,
    form: Mapping[str, str],
    ticked: Mapping[str, list[str]],
) -> tuple[Mapping[str, object], list[FormFault]]:
    if form.get("way") == "text":
        text = form.get("study", "").strip() + "\n"
        faults = _find_study_faults(text)
    else:
        definition = load_draft(request, project.id).definition
        if not definition:
            return {}, [FormFault("study", N_("Build a cohort first."))]
        text, faults = build_study(definition, project.id, project.purpose, ticked)
    return build_parameters(project=project.id, definition=text), faults


def _find_study_faults(text: str) -> list[FormFault]:
    if len(text) > MAX_DEFINITION:
        fault = N_("Write %(most)s characters at most.")
        return [FormFault("study", fault, {"most": str(MAX_DEFINITION)})]
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [FormFault("study", N_("The text is no TOML: %(fault)s."), {"fault": str(error)})]
    return []


def _build_code(
    project: Project, form: Mapping[str, str]
) -> tuple[Mapping[str, object], list[FormFault]]:
    code, outputs = form.get("code", ""), form.get("outputs", "").split()
    faults = []
    if not code.strip():
        faults.append(FormFault("code", N_("Write the code that is to run.")))
    if len(code) > MAX_CODE:
        text = N_("Write %(most)s characters at most.")
        faults.append(FormFault("code", text, {"most": str(MAX_CODE)}))
    if not outputs:
        faults.append(FormFault("outputs", N_("Name at least one file that the code writes.")))
    return build_parameters(project=project.id, code=code, output=outputs), faults


def _render_new_run(
    request: PortalRequest,
    project: Project,
    kind: str,
    ticked: Mapping[str, list[str]],
    errors: list[FieldError] | None = None,
) -> Response:
    draft = load_draft(request, project.id)
    document = read_document(draft.definition) if draft.definition else {}
    choices = list_choices(document)
    study = next(iter(ticked.get("study", ())), "")
    if not study and draft.definition:
        # The text begins with the analysis that every cohort has.
        study, _ = build_study(
            draft.definition, project.id, project.purpose, {"analysis": ["attrition"]}
        )
    return request.render(
        "research_new_run.html",
        project=project,
        kind=kind,
        cohort=document,
        study=study,
        is_text_open=ticked.get("way") == ["text"],
        choices=choices,
        offered=[analysis for analysis in ANALYSES if may_run(analysis, choices)],
        missing=[analysis for analysis in ANALYSES if not may_run(analysis, choices)],
        ticked=ticked,
        MAX_DEFINITION=MAX_DEFINITION,
        MAX_CODE=MAX_CODE,
        errors=errors or [],
    )


async def _render_run(
    request: PortalRequest,
    project_id: str,
    run_id: str,
    note: str = "",
    error: FieldError | None = None,
) -> Response:
    (project, _), run = await asyncio.gather(
        fetch_project(request, project_id), fetch_run(request, project_id, run_id)
    )
    return request.render(
        "research_run.html",
        project=project,
        run=run,
        steps=describe_steps(request, run.steps),
        draw_flow=draw_flow,
        may_release=_may_run(request, project) and run.state == "ended" and not run.release,
        may_run=_may_run(request, project),
        note=note,
        KIND_TITLES=KIND_TITLES,
        errors=[error] if error else [],
    )
