"""The steward's decision on proposed changes of name, birth date, sex and identity document."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Invalid, NotFound
from ehr_portal.gateway.operations import build_parameters, dash_if_empty
from ehr_portal.i18n import N_
from ehr_portal.oversight.identity_changes import IdentityProposal, parse_proposals
from ehr_portal.record.providers import Provider
from ehr_portal.record.record import fetch_providers
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import StewardRequest

router = APIRouter()
NAVIGATION = (NavigationLink("steward", "/proposals", N_("Identity"), 25),)
DECISION_TITLES = {"approve": N_("Approve"), "refuse": N_("Refuse")}


@router.get("/proposals")
async def show_proposals(request: StewardRequest) -> Response:
    """List the proposals that wait."""
    proposals, providers = await _fetch_proposals(request)
    return request.render("identity_proposals.html", proposals=proposals, providers=providers)


@router.get("/proposals/{proposal_id}")
async def show_decision_form(request: StewardRequest, proposal_id: str) -> Response:
    """Show one proposal and the form of the decision."""
    return await _render_form(request, proposal_id)


@router.post("/proposals/{proposal_id}")
async def save_decision(request: StewardRequest, proposal_id: str, form: VerifiedForm) -> Response:
    """Save the decision."""
    decision, reason = form.get("decision", ""), form.get("reason", "").strip()
    if decision not in DECISION_TITLES:
        error = FieldError("decision", N_("Choose what you decide."))
        return await _render_form(request, proposal_id, decision, reason, error)
    parameters = build_parameters(
        proposal=proposal_id, decision=decision, reason=dash_if_empty(reason)
    )
    try:
        await request.gateway.invoke("$decide-identity", parameters)
    except Conflict:
        request.flash_problem(N_("The record was changed since: it has to be proposed again."))
    except Invalid:
        error = FieldError("reason", N_("Write the reason: the papers that you saw."))
        return await _render_form(request, proposal_id, decision, reason, error)
    else:
        request.flash(N_("Your decision is on record."))
    return request.redirect("/proposals")


async def _render_form(
    request: PortalRequest,
    proposal_id: str,
    decision: str = "",
    reason: str = "",
    error: FieldError | None = None,
) -> Response:
    proposals, providers = await _fetch_proposals(request)
    found = next((proposal for proposal in proposals if proposal.id == proposal_id), None)
    if found is None:
        raise NotFound("There is no such proposal.")
    return request.render(
        "identity_proposal.html",
        proposal=found,
        providers=providers,
        decision=decision,
        reason=reason,
        DECISION_TITLES=DECISION_TITLES,
        errors=[error] if error else [],
    )


async def _fetch_proposals(
    request: PortalRequest,
) -> tuple[list[IdentityProposal], dict[str, Provider]]:
    """Return the proposals that wait, and the organisations by id."""
    answer, providers = await asyncio.gather(
        request.gateway.invoke_by_get("$identity-proposals"), fetch_providers(request.gateway)
    )
    return parse_proposals(answer), providers
