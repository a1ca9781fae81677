"""A clinician prescribes: a draft, which is then checked and signed (`sign_prescription`)."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.pages.writing import (
    REFUSALS,
    FormSentBefore,
    create_once,
    entry_author,
    new_token,
    refusal_error,
    require_person,
    sent_before_error,
    token_of,
)
from ehr_portal.record.new_entries import MAX_TEXT_CHARACTERS, says_the_same
from ehr_portal.record.new_prescriptions import (
    DOSE_UNITS,
    DURATION_UNITS,
    FREQUENCIES,
    ROUTES,
    build_prescription,
    find_prescription_faults,
    is_draft_of_portal,
    known_medicines,
)
from ehr_portal.record.record import PAGE_SIZE, none_if_forbidden
from ehr_portal.record.rows import RecordRow, build_row
from ehr_portal.web.forms import FieldError, VerifiedForm, translate_faults
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
# The elements of a prescription that are typed.
_TYPED = ("medicationCodeableConcept", "dosageInstruction", "reasonCode")


@router.get("/patients/{patient}/write/prescription")
async def show_prescription_form(request: ClinicianRequest, patient: str) -> Response:
    """Show the form."""
    return await _render_form(request, patient, {}, new_token(), [])


@router.post("/patients/{patient}/write/prescription")
async def write_draft(request: ClinicianRequest, patient: str, form: VerifiedForm) -> Response:
    """Keep the draft, and go on to its check."""
    token = token_of(form)
    fields = {name: value.strip() for name, value in form.items()}
    errors = translate_faults(request, find_prescription_faults(fields))
    if not errors:
        draft = build_prescription(patient, entry_author(request), fields, token, request.now)
        try:
            stored = await _keep_draft(request, draft)
        except FormSentBefore:
            token, errors = new_token(), [sent_before_error("medicine")]
        except REFUSALS:
            errors = [refusal_error("medicine")]
        else:
            # The same form sent again after the signature leads to what was signed.
            is_draft = stored["status"] == "draft"
            place = "write/prescription" if is_draft else "item/MedicationRequest"
            return request.redirect(f"/patients/{patient}/{place}/{stored['id']}")
    return await _render_form(request, patient, form, token, errors)


async def _keep_draft(request: PortalRequest, draft: Resource) -> Resource:
    """Create a draft; one that the same form made before is changed to what the form says now.

    Raises FormSentBefore where that one is no draft any more, and says something else.
    """
    try:
        return await create_once(request, draft)
    except FormSentBefore as sent_before:
        stored = sent_before.stored
        if says_the_same(stored, draft, _TYPED):
            # Signed or thrown away since.
            return stored
        if stored.get("status") != "draft":
            raise
        meta = {**draft["meta"], "versionId": stored["meta"]["versionId"]}
        return await request.gateway.update({**draft, "id": stored["id"], "meta": meta})


async def _fetch_drafts(request: PortalRequest, patient: str) -> list[RecordRow]:
    """Return the patient's drafts that nobody signed yet: who left one finds it here."""
    params = {"patient": patient, "status": "draft", "_count": PAGE_SIZE}
    found = await none_if_forbidden(request.gateway.search("MedicationRequest", params))
    return [
        build_row(order, {}, request.language, request.now)
        for order in (found.matches if found else ())
        if is_draft_of_portal(order)
    ]


async def _render_form(
    request: PortalRequest,
    patient: str,
    values: Mapping[str, str],
    token: str,
    errors: list[FieldError],
) -> Response:
    choose = {"": N_("Choose")}
    return request.render(
        "write_prescription.html",
        patient=patient,
        person=await require_person(request, patient),
        drafts=await _fetch_drafts(request, patient),
        values=values,
        token=token,
        errors=errors,
        units=choose | {code: title for code, (_, title) in DOSE_UNITS.items()},
        routes=choose | {code: title for code, (_, title) in ROUTES.items()},
        frequencies=choose | {code: title for code, (title, _) in FREQUENCIES.items()},
        duration_units=DURATION_UNITS,
        suggestions=known_medicines(),
        max_characters=MAX_TEXT_CHARACTERS,
    )
