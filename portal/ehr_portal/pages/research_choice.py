"""Research: whether the patient's record may be used, what that means, and changing one's mind."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, NotFound, PreconditionFailed, Unavailable
from ehr_portal.gateway.client import GatewayClient
from ehr_portal.i18n import N_
from ehr_portal.oversight.research_projects import OpenProject, parse_open_projects
from ehr_portal.record.record import fetch_consents
from ehr_portal.record.sections import TYPE_TITLES
from ehr_portal.sharing.consents import has_joined
from ehr_portal.sharing.research import allow_research, has_opted_out, refuse_research
from ehr_portal.web.forms import PatientForm
from ehr_portal.web.roles import DeciderRequest

router = APIRouter()


@router.get("/research-choice")
async def show_research_choice(request: DeciderRequest) -> Response:
    """Show what research means here, and the choice."""
    consents = await fetch_consents(request.gateway, request.patient)
    return request.render(
        "research_choice.html",
        has_joined=has_joined(consents),
        has_opted_out=has_opted_out(consents, request.now),
        projects=await _fetch_open_projects(request.gateway),
        TYPE_TITLES=TYPE_TITLES,
    )


@router.post("/research-choice")
async def choose_research(request: DeciderRequest, form: PatientForm) -> Response:
    """Keep the record out of research, or let it be used again, as the form says."""
    wanted = form.get("to")
    if wanted not in ("yes", "no"):
        # What says nothing opens nothing.
        request.flash_problem(N_("Choose one."))
        return request.redirect("/research-choice")
    consents = await fetch_consents(request.gateway, request.patient)
    if wanted == "no":
        writes = refuse_research(consents, request.patient, request.now)
        message = N_("Your record is not used for research any more, from the next copy on.")
    else:
        writes = allow_research(consents, request.now)
        message = N_("Your record may be used for research, without your name.")
    try:
        for consent in writes:
            await request.gateway.save(consent)
    except PreconditionFailed:
        request.flash_problem(N_("This was changed meanwhile. Look at your choices again."))
    else:
        request.flash(message)
    return request.redirect("/research-choice")


async def _fetch_open_projects(gateway: GatewayClient) -> list[OpenProject]:
    # The page is for the choice: it stands where the gateway has no research beside it, too.
    try:
        return parse_open_projects(await gateway.invoke_by_get("$research-projects"))
    except (Forbidden, NotFound, Unavailable):
        return []
