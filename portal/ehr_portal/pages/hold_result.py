"""A clinician holds a result back from the patient until a day, or releases it early."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Invalid, NotFound, Unprocessable
from ehr_portal.gateway.operations import build_parameters, fetch_held_results
from ehr_portal.i18n import N_, local_date
from ehr_portal.pages.record_views import fetch_item
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
HOLDABLE_TYPES = frozenset(
    {"Composition", "DiagnosticReport", "DocumentReference", "ImagingStudy", "Media", "Observation"}
)
# The form offers four weeks; the gateway holds its own setting, hold_days, against it.
_LONGEST_HOLD = timedelta(days=27)
_REASON_MISSING = FieldError("reason", N_("Say in a sentence why you hold it."))


@router.get("/patients/{patient}/item/{resource_type}/{resource_id}/hold")
async def show_hold_form(
    request: ClinicianRequest, patient: str, resource_type: str, resource_id: str
) -> Response:
    """Show the form."""
    return await _render_form(request, patient, resource_type, resource_id)


@router.post("/patients/{patient}/item/{resource_type}/{resource_id}/hold")
async def hold_result(
    request: ClinicianRequest,
    patient: str,
    resource_type: str,
    resource_id: str,
    form: VerifiedForm,
) -> Response:
    """Hold the result back from the patient."""
    until, reason = form.get("until", "").strip(), form.get("reason", "").strip()
    item_path = f"/patients/{patient}/item/{resource_type}/{resource_id}"
    error = FieldError("until", N_("Choose a day in the next four weeks."))
    if len(reason) < 3:
        error = _REASON_MISSING
    elif until:
        parameters = build_parameters(until=until, reason=reason)
        try:
            await request.gateway.invoke(f"{resource_type}/{resource_id}/$hold", parameters)
        except Conflict:
            # It is held already: the item's page says by whom and until when.
            return request.redirect(item_path)
        except Unprocessable:
            # Either the reason says too little or the day is out of bounds.
            if len(reason) < 10:
                error = _REASON_MISSING
        except Invalid:
            error = FieldError("until", N_("Type a day as year-month-day."))
        else:
            request.flash(N_("The patient does not see it until that day."))
            return request.redirect(item_path)
    return await _render_form(
        request, patient, resource_type, resource_id, until=until, reason=reason, errors=[error]
    )


@router.post("/patients/{patient}/release")
async def release_result(request: ClinicianRequest, patient: str, form: VerifiedForm) -> Response:
    """End a hold early."""
    await request.gateway.invoke("$release-hold", build_parameters(hold=form.get("hold", "")))
    request.flash(N_("The patient sees it from this moment."))
    return request.redirect(f"/patients/{patient}")


async def _render_form(
    request: PortalRequest,
    patient: str,
    resource_type: str,
    resource_id: str,
    *,
    until: str = "",
    reason: str = "",
    errors: list[FieldError] | None = None,
) -> Response:
    base = f"/patients/{patient}"
    item = await fetch_item(request, resource_type, resource_id, patient, base)
    if resource_type not in HOLDABLE_TYPES or item.row.author != request.user.organization:
        raise NotFound("This is not yours to hold.")
    held_results = await fetch_held_results(request.gateway, patient)
    if any(held.record == f"{resource_type}/{resource_id}" for held in held_results):
        return request.redirect(f"/patients/{patient}/item/{resource_type}/{resource_id}")
    today = local_date(request.now)
    return request.render(
        "hold_result.html",
        person=item.person,
        patient=patient,
        item=item,
        until=until,
        reason=reason,
        first_day=(today + timedelta(days=1)).isoformat(),
        last_day=(today + _LONGEST_HOLD).isoformat(),
        errors=errors or [],
    )
