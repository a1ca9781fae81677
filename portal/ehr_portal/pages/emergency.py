"""Emergency access: one page, one reason, and what follows from it said before."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import EhrError, NotFound, TooMany
from ehr_portal.gateway.operations import build_parameters, parse_values
from ehr_portal.i18n import N_
from ehr_portal.pages.record_views import fetch_person
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
NAVIGATION = (NavigationLink("clinician", "/emergency", N_("Emergency"), 30, shortcut="e"),)


@router.get("/emergency")
async def show_form_by_card(request: ClinicianRequest) -> Response:
    """Show the form for a person whose identity card is at hand."""
    return await _render_form(request, "")


@router.get("/patients/{patient}/emergency")
async def show_form_by_record(request: ClinicianRequest, patient: str) -> Response:
    """Show the form for a patient whose record is on the screen."""
    return await _render_form(request, patient)


@router.post("/emergency")
async def declare_by_card(request: ClinicianRequest, form: VerifiedForm) -> Response:
    """Open the record of the person with this card."""
    hkid, reason = form.get("hkid", ""), form.get("reason", "")
    return await _declare_emergency(request, "", hkid, reason)


@router.post("/patients/{patient}/emergency")
async def declare_by_record(
    request: ClinicianRequest, patient: str, form: VerifiedForm
) -> Response:
    """Open this record."""
    return await _declare_emergency(request, patient, "", form.get("reason", ""))


async def _declare_emergency(
    request: PortalRequest, patient: str, hkid: str, reason: str
) -> Response:
    path = f"Patient/{patient}/$declare-emergency" if patient else "Patient/$declare-emergency"
    error = FieldError("reason", N_("Say in a sentence what the emergency is."))
    if not patient and not hkid.strip():
        error = FieldError("hkid", N_("Type the identity card number."))
    elif len(reason.strip()) >= 3:
        parameters = build_parameters(hkid=hkid.strip(), reason=reason)
        try:
            answer = parse_values(await request.gateway.invoke(path, parameters))
            request.flash(N_("The record is open to you for 24 hours. The patient was told."))
            return request.redirect(f"/patients/{answer['patient'][0]}")
        except NotFound:
            text = N_("There is no record of this person. Check the number.")
            error = FieldError("hkid", text)
        except TooMany:
            error = FieldError("reason", N_("You declared too many emergencies today."))
        except EhrError as refusal:
            # The gateway judges the reason too.
            if refusal.status not in (400, 422):
                raise
    return await _render_form(request, patient, hkid=hkid, reason=reason, errors=[error])


async def _render_form(
    request: PortalRequest,
    patient: str,
    *,
    hkid: str = "",
    reason: str = "",
    errors: list[FieldError] | None = None,
) -> Response:
    # Not of somebody of whom nothing is shared: then the page may not tell who it is.
    person = await fetch_person(request, patient) if patient else None
    return request.render(
        "emergency.html",
        person=person,
        patient=patient,
        hkid=hkid,
        reason=reason,
        errors=errors or [],
    )
