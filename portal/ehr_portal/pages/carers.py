"""The patient's carers: invite somebody to help, and end it."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, TooMany
from ehr_portal.gateway.operations import build_parameters, fetch_carers, parse_values
from ehr_portal.i18n import N_
from ehr_portal.record.sections import DOMAIN_TITLES
from ehr_portal.web.forms import FieldError, PatientForm, TickedDomains
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import DeciderRequest, PatientRequest

router = APIRouter()
NAVIGATION = (NavigationLink("patient", "/carers", N_("Carers"), 60),)
POWER_TITLES = {
    "view": N_("See the record"),
    "manage": N_("Decide about sharing"),
    "both": N_("See the record and decide about sharing"),
}


@router.get("/carers")
async def show_carers(request: DeciderRequest) -> Response:
    """Show the carers, and the form that invites another."""
    return await _render_carers(request)


@router.post("/carers/invite")
async def invite_carer(
    request: PatientRequest, form: PatientForm, closed_domains: TickedDomains
) -> Response:
    """Make an invitation and show its code, once."""
    parameters = build_parameters(
        power=form.get("power", "view"),
        domain=closed_domains,
        until=form.get("until", "").strip(),
    )
    try:
        answer = await request.gateway.invoke(
            f"Patient/{request.patient}/$invite-carer", parameters
        )
    except TooMany:
        text = N_("There are too many open invitations. Take one back first.")
        return await _render_carers(request, error=FieldError("power", text))
    except Invalid:
        text = N_("Choose a day that is still to come.")
        return await _render_carers(request, error=FieldError("until", text))
    return await _render_carers(request, code=parse_values(answer)["code"][0])


@router.post("/carers/end")
async def end_carer(request: PatientRequest, form: PatientForm) -> Response:
    """End a carer's power, or take an invitation back."""
    await request.gateway.invoke("$end-carer", build_parameters(carer=form.get("carer", "")))
    request.flash(N_("It is ended from this moment."))
    return request.redirect("/carers")


async def _render_carers(
    request: PortalRequest, *, code: str = "", error: FieldError | None = None
) -> Response:
    carers = await fetch_carers(request.gateway, request.patient)
    return request.render(
        "carers.html",
        active=[carer for carer in carers if carer.state == "active"],
        invited=[carer for carer in carers if carer.state == "proposed"],
        code=code,
        POWER_TITLES=POWER_TITLES,
        DOMAIN_TITLES=DOMAIN_TITLES,
        errors=[error] if error else [],
    )
