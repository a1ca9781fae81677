"""The clinician records who decides for a patient under 16 or without capacity."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, TooMany
from ehr_portal.gateway.operations import build_parameters, parse_values
from ehr_portal.i18n import N_
from ehr_portal.pages.record_views import fetch_person
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
BASIS_TITLES = {
    "minor": N_("The patient is under 16"),
    "incapable": N_("The patient cannot decide at present"),
}
# In the order of the law; the gateway holds to it.
RELATION_TITLES = {
    "parent": N_("Parent"),
    "guardian": N_("Guardian"),
    "director-of-social-welfare": N_("Director of Social Welfare"),
    "court-appointed": N_("Appointed by a court"),
    "family": N_("Family member"),
    "resident": N_("A person living with the patient"),
    "provider": N_("A provider who treats the patient"),
}


@router.get("/patients/{patient}/substitute")
async def show_substitute_form(request: ClinicianRequest, patient: str) -> Response:
    """Show the form."""
    return await _render_form(request, patient, {})


@router.post("/patients/{patient}/substitute")
async def record_substitute(
    request: ClinicianRequest, patient: str, form: VerifiedForm
) -> Response:
    """Record who decides, and show the code to hand over, once."""
    names = ("relation", "basis", "reason", "until")
    fields = {name: form.get(name, "").strip() for name in names}
    if fields["relation"] not in RELATION_TITLES or fields["basis"] not in BASIS_TITLES:
        error = FieldError("basis", N_("Choose one of each."))
        return await _render_form(request, patient, fields, error=error)
    if not fields["until"] or len(fields["reason"]) < 3:
        error = FieldError("reason" if fields["until"] else "until", N_("Say why, and until when."))
        return await _render_form(request, patient, fields, error=error)
    try:
        answer = await request.gateway.invoke(
            f"Patient/{patient}/$record-substitute", build_parameters(**fields)
        )
    except TooMany:
        text = N_("There are too many open invitations. Take one back first.")
        return await _render_form(request, patient, fields, error=FieldError("basis", text))
    except Invalid:
        text = N_("Somebody who comes before decides already, or what you typed says too little.")
        return await _render_form(request, patient, fields, error=FieldError("basis", text))
    return await _render_form(request, patient, {}, code=parse_values(answer)["code"][0])


async def _render_form(
    request: PortalRequest,
    patient: str,
    fields: Mapping[str, str],
    *,
    error: FieldError | None = None,
    code: str = "",
) -> Response:
    person = await fetch_person(request, patient)
    if person is None:
        return request.render("nothing_shared.html", status=404, patient=patient)
    return request.render(
        "substitute_decision_maker.html",
        patient=patient,
        person=person,
        fields=fields,
        code=code,
        BASIS_TITLES=BASIS_TITLES,
        RELATION_TITLES=RELATION_TITLES,
        errors=[error] if error else [],
    )
