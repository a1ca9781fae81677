"""A clinician writes down a round of vital signs: all that NEWS2 asks for, or part of it."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.i18n import N_
from ehr_portal.pages.writing import (
    REFUSALS,
    entry_author,
    new_token,
    refusal_error,
    require_person,
    token_of,
    transaction_entry,
)
from ehr_portal.record.new_vital_signs import (
    VITAL_SIGNS,
    build_round,
    parse_round,
)
from ehr_portal.record.news2 import ACVPU_TEXTS
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()


@router.get("/patients/{patient}/write/vital-signs")
async def show_vital_signs_form(request: ClinicianRequest, patient: str) -> Response:
    """Show the form, empty but for the time."""
    now = request.now.astimezone(JURISDICTION.zone)
    return await _render_form(request, patient, {"at": f"{now:%Y-%m-%dT%H:%M}"}, new_token(), [])


@router.post("/patients/{patient}/write/vital-signs")
async def write_vital_signs(
    request: ClinicianRequest, patient: str, form: VerifiedForm
) -> Response:
    """Keep the round: all of it, or nothing."""
    token = token_of(form)
    measured, faults = parse_round(form, request.now)
    errors = [
        FieldError(fault.field, request.translate(fault.text, **fault.values)) for fault in faults
    ]
    if measured is not None:
        observations = build_round(measured, patient, entry_author(request), token)
        try:
            await request.gateway.transact(transaction_entry(one) for one in observations)
        except REFUSALS:
            errors = [refusal_error(VITAL_SIGNS[0].field)]
        else:
            request.flash(N_("The vital signs are in the record."))
            return request.redirect(f"/patients/{patient}")
    return await _render_form(request, patient, form, token, errors)


async def _render_form(
    request: PortalRequest,
    patient: str,
    values: Mapping[str, str],
    token: str,
    errors: list[FieldError],
) -> Response:
    return request.render(
        "write_vital_signs.html",
        patient=patient,
        person=await require_person(request, patient),
        values=values,
        token=token,
        errors=errors,
        signs=VITAL_SIGNS,
        levels={"": N_("Not looked at"), **ACVPU_TEXTS},
    )
