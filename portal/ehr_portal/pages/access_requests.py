"""The patient's answers to requests for access: what waits, what is open, what is over."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Forbidden, NotFound
from ehr_portal.gateway.operations import build_parameters, fetch_access_requests
from ehr_portal.i18n import N_
from ehr_portal.record.record import fetch_consents, fetch_providers
from ehr_portal.record.sections import DOMAIN_TITLES
from ehr_portal.sharing.consents import deactivate_consent, is_in_force
from ehr_portal.web.forms import PatientForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.roles import DeciderRequest, PatientRequest

router = APIRouter()
NAVIGATION = (
    NavigationLink("patient", "/requests", N_("Requests"), 30),
    NavigationLink("carer", "/requests", N_("Requests"), 60, lambda user: user.decides_for_patient),
)
# The past requests that the page shows. Chosen.
MAX_PAST = 20


@router.get("/requests")
async def show_requests(request: DeciderRequest) -> Response:
    """Show what waits for an answer, what is open now and what is over."""
    access_requests, consents, providers = await asyncio.gather(
        fetch_access_requests(request.gateway, request.patient),
        fetch_consents(request.gateway, request.patient),
        fetch_providers(request.gateway),
    )
    in_force = {consent["id"] for consent in consents if is_in_force(consent, request.now)}
    pending = [access for access in access_requests if access.open == "true"]
    active = [
        access
        for access in access_requests
        if access.state == "active" and access.consent in in_force
    ]
    past = [access for access in access_requests if access not in pending + active]
    return request.render(
        "access_requests.html",
        pending=pending,
        active=active,
        past=past[:MAX_PAST],
        providers=providers,
        DOMAIN_TITLES=DOMAIN_TITLES,
    )


@router.post("/requests/answer")
async def answer_request(request: PatientRequest, form: PatientForm) -> Response:
    """Approve or refuse a request."""
    approves = form.get("to") == "approve"
    operation = "$approve-access" if approves else "$refuse-access"
    parameters = build_parameters(request=form.get("request", ""))
    try:
        await request.gateway.invoke(operation, parameters)
    except Conflict:
        request.flash_problem(N_("This request is answered or too old."))
    except Forbidden:
        request.flash_problem(
            N_("Tell the code in your notices to the one who asks; that is how you approve.")
        )
    else:
        agreed = N_("You agreed. You can end it at any time on this page.")
        request.flash(agreed if approves else N_("You refused. Nothing opened."))
    return request.redirect("/requests")


@router.post("/requests/end")
async def end_access(request: PatientRequest, form: PatientForm) -> Response:
    """End a grant or an emergency at once."""
    access_requests = await fetch_access_requests(request.gateway, request.patient)
    consent_id = form.get("consent", "")
    # Sharings and restrictions have pages of their own.
    if consent_id not in {access.consent for access in access_requests}:
        raise NotFound("There is no such access.")
    consent = await request.gateway.read("Consent", consent_id)
    await request.gateway.update(deactivate_consent(consent))
    request.flash(N_("It is ended from this moment."))
    return request.redirect("/requests")
