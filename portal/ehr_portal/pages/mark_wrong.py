"""A clinician marks an entry of their own organisation as entered in error."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import NotFound, PreconditionFailed
from ehr_portal.i18n import N_
from ehr_portal.pages.record_views import Item, fetch_item
from ehr_portal.pages.writing import REFUSALS, entry_author, refusal_error
from ehr_portal.record.form_fields import length_faults
from ehr_portal.record.new_entries import (
    MAX_TEXT_CHARACTERS,
    WRITTEN_TYPES,
    is_marked_wrong,
    mark_wrong,
)
from ehr_portal.web.forms import FieldError, VerifiedForm, read_version, translate_faults
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
_SHORTEST_REASON = 3


@router.get("/patients/{patient}/item/{resource_type}/{resource_id}/wrong")
async def show_mark_form(
    request: ClinicianRequest, patient: str, resource_type: str, resource_id: str
) -> Response:
    """Show the form."""
    return await _render_form(request, patient, resource_type, resource_id, "", [])


@router.post("/patients/{patient}/item/{resource_type}/{resource_id}/wrong")
async def mark_item_wrong(
    request: ClinicianRequest,
    patient: str,
    resource_type: str,
    resource_id: str,
    form: VerifiedForm,
) -> Response:
    """Mark the entry; what it said stays readable, struck through."""
    item_path = f"/patients/{patient}/item/{resource_type}/{resource_id}"
    reason = form.get("reason", "").strip()
    errors = translate_faults(request, length_faults(form, ["reason"], MAX_TEXT_CHARACTERS))
    if len(reason) < _SHORTEST_REASON:
        errors = [FieldError("reason", N_("Say in a sentence what is wrong."))]
    if errors:
        return await _render_form(request, patient, resource_type, resource_id, reason, errors)
    item = await _fetch_own(request, patient, resource_type, resource_id)
    stored = item.row.resource
    marked = mark_wrong(stored, reason, entry_author(request), request.now)
    marked["meta"] = {**stored["meta"], "versionId": read_version(form, stored)}
    try:
        await request.gateway.update(marked)
    except PreconditionFailed:
        request.flash_problem(N_("It was changed meanwhile. Look at it again."))
    except REFUSALS:
        errors = [refusal_error("reason")]
        return await _render_form(request, patient, resource_type, resource_id, reason, errors)
    else:
        request.flash(N_("It is marked as a mistake and counts no more."))
    return request.redirect(item_path)


async def _fetch_own(
    request: PortalRequest, patient: str, resource_type: str, resource_id: str
) -> Item:
    """Return an item of the reader's organisation; NotFound for any other."""
    item = await fetch_item(request, resource_type, resource_id, patient, f"/patients/{patient}")
    is_own = item.row.author == request.user.organization
    if resource_type not in WRITTEN_TYPES or not is_own or is_marked_wrong(item.row.resource):
        raise NotFound("This is not yours to mark.")
    return item


async def _render_form(
    request: PortalRequest,
    patient: str,
    resource_type: str,
    resource_id: str,
    reason: str,
    errors: list[FieldError],
) -> Response:
    item = await _fetch_own(request, patient, resource_type, resource_id)
    return request.render(
        "mark_wrong.html",
        patient=patient,
        person=item.person,
        item=item,
        version=item.row.resource["meta"]["versionId"],
        reason=reason,
        errors=errors,
    )
