"""Releases: the checkers' list, one release beside its rules and evidence, and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Forbidden, Invalid, NotFound
from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import build_parameters, dash_if_empty
from ehr_portal.i18n import N_
from ehr_portal.pages.research_projects import (
    WORKING_ROLES,
    ProjectReaderRequest,
    ResearcherRequest,
)
from ehr_portal.pages.research_runs import send_file
from ehr_portal.research.releases import (
    CHECK_TITLES,
    RECORD_FILE,
    RULE_MEANINGS,
    RULE_TITLES,
    Release,
    build_tables,
    parse_releases,
)
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import require_role

router = APIRouter()
CHECKER_ROLES = ("steward", "auditor")
NAVIGATION = tuple(NavigationLink(role, "/releases", N_("Releases"), 48) for role in CHECKER_ROLES)
CheckerRequest = Annotated[PortalRequest, Depends(require_role(*CHECKER_ROLES))]
DECISION_TITLES = {
    "approve": N_("Approve: what is shown may leave"),
    "ask": N_("Ask the researcher something first"),
    "return": N_("Keep it inside for good"),
}


@dataclass(frozen=True)
class TypedDecision:
    """What a checker, or a researcher who answers, filled in."""

    decision: str = ""
    reason: str = ""
    is_unsafe_judged: bool = False
    # Of the files that were read.
    digest: str = ""


@router.get("/releases")
async def show_releases(request: CheckerRequest) -> Response:
    """List what waits for a checker, the oldest first, and what was decided."""
    answer = await request.gateway.invoke_by_get("$research-releases")
    releases = parse_releases(answer)
    waiting = [release for release in releases if release.state == "waiting"]
    return request.render(
        "releases.html",
        mine=[release for release in waiting if _waits_for(request, release)],
        others=[release for release in waiting if not _waits_for(request, release)],
        done=[release for release in reversed(releases) if release.state != "waiting"],
    )


@router.get("/releases/{release_id}")
async def show_release(request: CheckerRequest, release_id: str) -> Response:
    """Show a release to a checker: its files beside the rules, checks, questions, decisions."""
    return await _render_for_checker(request, release_id)


@router.post("/releases/{release_id}")
async def decide_release(request: CheckerRequest, form: VerifiedForm, release_id: str) -> Response:
    """Approve a release, keep it inside, or ask about it."""
    typed = TypedDecision(
        form.get("decision", ""),
        form.get("reason", "").strip(),
        form.get("unsafe") == "1",
        form.get("digest", ""),
    )
    if typed.decision not in DECISION_TITLES:
        error: FieldError | None = FieldError("decision", N_("Choose what you decide."))
    else:
        error = await _decide(request, release_id, typed)
    if error is None:
        request.flash(N_("Your decision is on record."))
        return request.redirect(f"/releases/{release_id}")
    return await _render_for_checker(request, release_id, typed, error)


@router.get("/projects/{project_id}/releases/{release_id}")
async def show_own_release(
    request: ProjectReaderRequest, project_id: str, release_id: str
) -> Response:
    """Show a release to the people of its project, with its files once it is released."""
    return await _render_for_people(request, project_id, release_id)


@router.post("/projects/{project_id}/releases/{release_id}")
async def answer_question(
    request: ResearcherRequest, form: VerifiedForm, project_id: str, release_id: str
) -> Response:
    """Answer a checker's question."""
    typed = TypedDecision("answer", form.get("reason", "").strip())
    error = await _decide(request, release_id, typed)
    if error is None:
        request.flash(N_("Your answer is on record."))
        return request.redirect(f"/projects/{project_id}/releases/{release_id}")
    return await _render_for_people(request, project_id, release_id, typed, error)


@router.get("/releases/{release_id}/files/{name}")
async def download_checked_file(request: CheckerRequest, release_id: str, name: str) -> Response:
    """Send a file as it would leave to a checker."""
    return await _send_file(request, release_id, name)


@router.get("/projects/{project_id}/releases/{release_id}/files/{name}")
async def download_released_file(
    request: ResearcherRequest, project_id: str, release_id: str, name: str
) -> Response:
    """Send a released file, or the record of its controls, to the people of its project."""
    await _fetch_release(request, release_id, project=project_id)
    return await _send_file(request, release_id, name)


async def _send_file(request: PortalRequest, release_id: str, name: str) -> Response:
    content, media = await request.gateway.download("$release-file", release=release_id, file=name)
    return send_file(content, media, name)


async def _decide(
    request: PortalRequest, release_id: str, typed: TypedDecision
) -> FieldError | None:
    parameters = build_parameters(
        release=release_id,
        decision=typed.decision,
        reason=dash_if_empty(typed.reason),
        **({"digest": typed.digest} if typed.decision == "approve" else {}),
    )
    if typed.is_unsafe_judged:
        parameters["parameter"].append({"name": "unsafe-judged", "valueBoolean": True})
    try:
        await request.gateway.invoke("$decide-release", parameters)
    except Forbidden:
        return FieldError("decision", N_("Another person has to decide this."))
    except Conflict:
        return FieldError("decision", N_("It has changed meanwhile. Look at it again."))
    except Invalid as refusal:
        if "unsafe" in str(refusal):
            text = N_("Say that you judged the unsafe output, or do not approve it.")
            return FieldError("unsafe", text)
        return FieldError("reason", N_("Write the reason in a sentence."))
    return None


async def _fetch_release(request: PortalRequest, release_id: str, *, project: str = "") -> Release:
    answer = await request.gateway.invoke_by_get("$research-releases", release=release_id)
    for release in parse_releases(answer):
        if release.id == release_id and project in ("", release.project):
            return release
    raise NotFound("There is no such release.")


def _waits_for(request: PortalRequest, release: Release) -> bool:
    # The gateway judges by all accounts of a person; this sorts a list.
    has_acted = request.user.login in (*release.checkers, release.by)
    return release.state == "waiting" and not has_acted and not release.has_open_question


async def _render_for_checker(
    request: PortalRequest,
    release_id: str,
    typed: TypedDecision | None = None,
    error: FieldError | None = None,
) -> Response:
    # One after the other: cells of a later proposal than the digest's cannot be approved by it.
    release = await _fetch_release(request, release_id)
    evidence = await request.gateway.invoke_by_get("$release-evidence", release=release_id)
    offered = DECISION_TITLES if release.state == "waiting" else {}
    # Nobody approves twice; to ask and to keep it inside stay open to them.
    if request.user.login in release.checkers:
        offered = {name: title for name, title in offered.items() if name != "approve"}
    return _render(
        request,
        release,
        evidence=evidence,
        base=f"/releases/{release.id}",
        back="/releases",
        decisions=offered,
        may_answer=False,
        may_download=True,
        typed=typed,
        error=error,
    )


async def _render_for_people(
    request: PortalRequest,
    project_id: str,
    release_id: str,
    typed: TypedDecision | None = None,
    error: FieldError | None = None,
) -> Response:
    release = await _fetch_release(request, release_id, project=project_id)
    is_researcher = request.user.role in WORKING_ROLES
    return _render(
        request,
        release,
        evidence=None,
        base=f"/projects/{project_id}/releases/{release.id}",
        back=f"/projects/{project_id}/runs",
        decisions={},
        may_answer=is_researcher and release.state == "waiting" and release.has_open_question,
        may_download=is_researcher and release.state == "released",
        typed=typed,
        error=error,
    )


def _render(
    request: PortalRequest,
    release: Release,
    *,
    evidence: Resource | None,
    typed: TypedDecision | None,
    error: FieldError | None,
    decisions: Mapping[str, str],
    base: str,
    back: str,
    may_answer: bool,
    may_download: bool,
) -> Response:
    return request.render(
        "release.html",
        release=release,
        tables=build_tables(evidence) if evidence else [],
        is_checker=evidence is not None,
        base=base,
        back=back,
        decisions=decisions,
        may_answer=may_answer,
        may_download=may_download,
        typed=typed or TypedDecision(),
        RULE_TITLES=RULE_TITLES,
        RULE_MEANINGS=RULE_MEANINGS,
        CHECK_TITLES=CHECK_TITLES,
        RECORD_FILE=RECORD_FILE,
        errors=[error] if error else [],
    )
