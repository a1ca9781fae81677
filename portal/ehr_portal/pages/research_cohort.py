"""The cohort of a project: built in plain words or as text, with live counts of each step."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, EhrError, Forbidden, Invalid, NotFound, TooMany
from ehr_portal.gateway.operations import build_parameters
from ehr_portal.i18n import N_
from ehr_portal.oversight.research_projects import Project, parse_projects, parse_tables
from ehr_portal.pages.research_projects import ResearcherRequest
from ehr_portal.record.form_fields import FormFault
from ehr_portal.record.sections import TYPE_TITLES
from ehr_portal.research.cohort_form import (
    FIELDS,
    build_cohort,
    list_rows,
    parse_cohort,
    read_document,
)
from ehr_portal.research.data_offer import DataOffer, build_offer
from ehr_portal.research.flow_chart import FlowBox, draw_flow
from ehr_portal.research.runs import (
    Counts,
    Run,
    Step,
    list_losses,
    parse_counts,
    parse_runs,
    word_step,
)
from ehr_portal.research.toml_text import format_toml
from ehr_portal.web.forms import FieldError, VerifiedForm, translate_faults
from ehr_portal.web.request import PortalRequest

router = APIRouter()
# Chosen: ten times the longest cohort that comes with the platform.
MAX_DEFINITION = 20_000
SEX_TITLES = {"": N_("Everybody"), "female": N_("Women"), "male": N_("Men")}
PICK_TITLES = {"": N_("The first"), "last": N_("The last")}
USE_TITLES = {
    "include": N_("Must have had it"),
    "exclude": N_("Must not have had it"),
    "note": N_("May have had it: only note who did"),
}


@dataclass(frozen=True)
class CohortDraft:
    """What a researcher works on: a definition, and the counts that were asked for it last."""

    definition: str = ""
    counts: Counts | None = None
    # Whether the counts are those of an earlier text.
    is_changed: bool = False
    # What is not kept: the fields as they were typed, where they say no cohort yet.
    fields: Mapping[str, str] = field(default_factory=dict)


@router.get("/projects/{project_id}/cohort")
async def show_cohort(request: ResearcherRequest, project_id: str, run: str = "") -> Response:
    """Show the cohort that was worked on last, that of an earlier run, or an empty form."""
    project, offer = await fetch_project(request, project_id)
    if run:
        found = await fetch_run(request, project_id, run)
        if not found.definition:
            raise NotFound("There is no such run.")
        definition = format_toml(read_document(found.definition))
        keep_draft(request, project_id, CohortDraft(definition, None))
        return request.redirect(f"/projects/{project_id}/cohort")
    return _render(request, project, offer, load_draft(request, project_id))


@router.post("/projects/{project_id}/cohort")
async def count_cohort(request: ResearcherRequest, form: VerifiedForm, project_id: str) -> Response:
    """Keep a cohort, from the form or as text, and ask for its counts."""
    project, offer = await fetch_project(request, project_id)
    earlier = load_draft(request, project_id)
    if form.get("way") == "text":
        draft = CohortDraft(form.get("definition", "").strip() + "\n", earlier.counts)
        faults = _find_text_faults(draft.definition)
    else:
        fields = {name: form.get(name, "").strip() for name in FIELDS}
        document, faults = build_cohort(fields, offer)
        draft = CohortDraft(format_toml(document), earlier.counts, fields=fields)
    errors = translate_faults(request, faults)
    if not errors:
        error = await _ask_counts(request, project_id, draft)
        if error is None:
            return request.redirect(f"/projects/{project_id}/cohort#counts")
        errors = [error]
    return _render(request, project, offer, draft, errors, way=form.get("way", ""))


async def fetch_run(request: PortalRequest, project_id: str, run_id: str) -> Run:
    """Return one run of a project of the reader; or NotFound."""
    answer = await request.gateway.invoke_by_get("$research-runs", project=project_id, run=run_id)
    for run in parse_runs(answer):
        if run.id == run_id:
            return run
    raise NotFound("There is no such run.")


async def fetch_project(request: PortalRequest, project_id: str) -> tuple[Project, DataOffer]:
    """Return a project of the reader and what its items let a cohort ask for; or NotFound."""
    projects, tables = await asyncio.gather(
        request.gateway.invoke_by_get("$research-projects"),
        request.gateway.invoke_by_get("$research-catalogue"),
    )
    for project in parse_projects(projects):
        if project.id == project_id:
            return project, build_offer(parse_tables(tables), project.items)
    raise NotFound("There is no such project.")


def load_draft(request: PortalRequest, project_id: str) -> CohortDraft:
    """Return the cohort that the reader's session keeps of a project; an empty one without."""
    kept = request.session.cohort_drafts.get(project_id)
    if kept is None:
        return CohortDraft()
    values = json.loads(kept)
    counts = values["counts"]
    if counts is not None:
        counts = Counts(**{**counts, "steps": tuple(Step(**step) for step in counts["steps"])})
    return CohortDraft(values["definition"], counts, values["is_changed"])


def keep_draft(request: PortalRequest, project_id: str, draft: CohortDraft) -> None:
    """Keep a cohort in the reader's session."""
    values = {
        "definition": draft.definition,
        "counts": asdict(draft.counts) if draft.counts else None,
        "is_changed": draft.is_changed,
    }
    request.session.keep_cohort_draft(project_id, json.dumps(values))


async def _ask_counts(
    request: PortalRequest, project_id: str, draft: CohortDraft
) -> FieldError | None:
    """Ask for the counts of a draft and keep both; return what is wrong instead, if anything.

    A cohort that is sound is kept even where nothing more may be counted now.
    """
    parameters = build_parameters(project=project_id, definition=draft.definition)
    try:
        answer = await request.gateway.invoke("$research-count", parameters)
    except TooMany:
        changed = CohortDraft(draft.definition, draft.counts, is_changed=True)
        keep_draft(request, project_id, changed)
        request.flash_problem(N_("No counts are left for now. The cohort is kept."))
        return None
    except (Conflict, Forbidden):
        return FieldError("definition", N_("Counts are for the people of an open project."))
    except Invalid as refusal:
        return FieldError("definition", str(refusal))
    keep_draft(request, project_id, CohortDraft(draft.definition, parse_counts(answer)))
    return None


def _find_text_faults(text: str) -> list[FormFault]:
    if len(text) > MAX_DEFINITION:
        fault = N_("Write %(most)s characters at most.")
        return [FormFault("definition", fault, {"most": str(MAX_DEFINITION)})]
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        fault = N_("The text is no TOML: %(fault)s.")
        return [FormFault("definition", fault, {"fault": str(error)})]
    return [] if document else [FormFault("definition", N_("Write a definition."))]


def _render(
    request: PortalRequest,
    project: Project,
    offer: DataOffer,
    draft: CohortDraft,
    errors: list[FieldError] | None = None,
    way: str = "",
) -> Response:
    fields: Mapping[str, str] | None = draft.fields
    if not fields and draft.definition:
        fields = _read_fields(draft.definition, offer)
    return request.render(
        "research_cohort.html",
        project=project,
        offer=offer,
        draft=draft,
        typed=fields or {},
        rows=list_rows(fields or {}),
        # The form cannot say this text: it would take something of it away.
        is_text_only=fields is None,
        is_text_open=fields is None or way == "text",
        steps=describe_steps(request, draft.counts.steps) if draft.counts else [],
        draw_flow=draw_flow,
        SEX_TITLES=SEX_TITLES,
        PICK_TITLES=PICK_TITLES,
        USE_TITLES=USE_TITLES,
        TYPE_TITLES=TYPE_TITLES,
        MAX_DEFINITION=MAX_DEFINITION,
        errors=errors or [],
    )


def _read_fields(definition: str, offer: DataOffer) -> Mapping[str, str] | None:
    try:
        return parse_cohort(read_document(definition), offer)
    except (tomllib.TOMLDecodeError, EhrError):
        return None


def describe_steps(request: PortalRequest, steps: tuple[Step, ...]) -> list[FlowBox]:
    """Return the steps of a cohort in the reader's language, for the flow and its table."""
    first = next((step.people for step in steps if step.people), None)
    few = request.translate(N_("too few to tell"))
    number = request.localizer.format_number
    boxes = []
    for step, loss in zip(steps, list_losses(steps), strict=True):
        people = step.people
        boxes.append(
            FlowBox(
                title=word_step(step.name, request.translate),
                number=few if people is None else number(people),
                share=None if people is None or first is None else people / first,
                loss="" if loss is None else f"−{number(loss)}",
            )
        )
    return boxes
