"""The steward's review of every emergency, step-up and substitute decision maker."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Invalid, NotFound
from ehr_portal.gateway.operations import (
    MultiPartParameter,
    build_parameters,
    dash_if_empty,
    parse_multi_parts,
)
from ehr_portal.i18n import N_
from ehr_portal.oversight.access_history import OPERATION_TITLES, VisitPage, parse_visits
from ehr_portal.record.record import fetch_providers
from ehr_portal.record.sections import DOMAIN_TITLES
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import StewardRequest

router = APIRouter()
NAVIGATION = (NavigationLink("steward", "/reviews", N_("Reviews"), 20),)
KIND_TITLES = {
    "emergency": N_("Emergency access"),
    "step-up": N_("Access by the patient's consent"),
    "substitute": N_("Who decides for a patient"),
}
FINDING_TITLES = {"justified": N_("Justified"), "not-justified": N_("Not justified")}
# The visits that the form of a finding shows as evidence. Chosen.
MAX_VISITS = "50"
# The reviewed accesses that the page shows. Chosen.
MAX_REVIEWED = 30


@router.get("/reviews")
async def show_reviews(request: StewardRequest) -> Response:
    """Show the accesses that wait for a review, and the last that were reviewed."""
    pending, reviewed, providers = await asyncio.gather(
        request.gateway.invoke_by_get("$access-reviews"),
        request.gateway.invoke_by_get("$access-reviews", state="done"),
        fetch_providers(request.gateway),
    )
    return request.render(
        "reviews.html",
        pending=parse_multi_parts(pending, "access"),
        reviewed=parse_multi_parts(reviewed, "access")[:MAX_REVIEWED],
        providers=providers,
        KIND_TITLES=KIND_TITLES,
        FINDING_TITLES=FINDING_TITLES,
    )


@router.get("/reviews/{access_id}")
async def show_review_form(request: StewardRequest, access_id: str) -> Response:
    """Show one access and the form of the finding."""
    return await _render_form(request, access_id)


@router.post("/reviews/{access_id}")
async def save_finding(request: StewardRequest, access_id: str, form: VerifiedForm) -> Response:
    """Save the finding."""
    finding, note = form.get("finding", ""), form.get("note", "").strip()
    if finding not in FINDING_TITLES:
        error = FieldError("finding", N_("Choose what you found."))
        return await _render_form(request, access_id, finding=finding, note=note, error=error)
    parameters = build_parameters(access=access_id, finding=finding, note=dash_if_empty(note))
    try:
        await request.gateway.invoke("$review-access", parameters)
    except Conflict:
        request.flash_problem(N_("It was reviewed a moment ago."))
    except Invalid:
        error = FieldError("note", N_("Write a short note for the record."))
        return await _render_form(request, access_id, finding=finding, note=note, error=error)
    else:
        request.flash(N_("Your finding is on record."))
    return request.redirect("/reviews")


async def _fetch_visits(request: PortalRequest, access: MultiPartParameter) -> VisitPage:
    """Return what was done with an access: the visits of its organisation while it held."""
    query = [("date", f"ge{access.asked}"), ("_count", MAX_VISITS)]
    if access.until:
        query.append(("date", f"le{access.until}"))
    if access.organization:
        query.append(("organization", access.organization))
    path = f"Patient/{access.patient}/$access-history"
    return parse_visits(await request.gateway.invoke_by_query(path, query))


async def _render_form(
    request: PortalRequest,
    access_id: str,
    *,
    finding: str = "",
    note: str = "",
    error: FieldError | None = None,
) -> Response:
    pending, done, providers = await asyncio.gather(
        request.gateway.invoke_by_get("$access-reviews"),
        request.gateway.invoke_by_get("$access-reviews", state="done"),
        fetch_providers(request.gateway),
    )
    accesses = parse_multi_parts(pending, "access")
    access = next((candidate for candidate in accesses if candidate.id == access_id), None)
    if access is None:
        raise NotFound("There is no such access to review.")
    others = [
        other
        for other in [*accesses, *parse_multi_parts(done, "access")]
        if other.person == access.person and other.id != access.id
    ]
    return request.render(
        "review.html",
        access=access,
        visits=await _fetch_visits(request, access),
        others=others[:MAX_REVIEWED],
        OPERATION_TITLES=OPERATION_TITLES,
        providers=providers,
        finding=finding,
        note=note,
        KIND_TITLES=KIND_TITLES,
        FINDING_TITLES=FINDING_TITLES,
        DOMAIN_TITLES=DOMAIN_TITLES,
        errors=[error] if error else [],
    )
