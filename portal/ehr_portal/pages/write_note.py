"""A clinician writes a note into a record: plain text or Markdown, kept as a document."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import Response

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
from ehr_portal.record.new_entries import MAX_NOTE_CHARACTERS, NOTE_KINDS, build_note
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
_MAX_TITLE_CHARACTERS = 120


@router.get("/patients/{patient}/write")
async def show_choices(request: ClinicianRequest, patient: str) -> Response:
    """Show what may be written into the record."""
    person = await require_person(request, patient)
    return request.render("write.html", patient=patient, person=person)


@router.get("/patients/{patient}/write/note")
async def show_note_form(request: ClinicianRequest, patient: str) -> Response:
    """Show the form."""
    return await _render_form(request, patient, {}, new_token(), [])


@router.post("/patients/{patient}/write/note")
async def write_note(request: ClinicianRequest, patient: str, form: VerifiedForm) -> Response:
    """Keep the note."""
    token = token_of(form)
    errors = _find_errors(form)
    if not errors:
        note = build_note(patient, entry_author(request), form, token, request.now)
        try:
            stored = await create_once(request, note)
        except FormSentBefore:
            token, errors = new_token(), [sent_before_error("text")]
        except REFUSALS:
            errors = [refusal_error("text")]
        else:
            request.flash(N_("The note is in the record. The patient can read it."))
            return request.redirect(f"/patients/{patient}/item/DocumentReference/{stored['id']}")
    return await _render_form(request, patient, form, token, errors)


def _find_errors(form: Mapping[str, str]) -> list[FieldError]:
    errors = []
    if form.get("kind", "") not in NOTE_KINDS:
        errors.append(FieldError("kind", N_("Choose one.")))
    if not form.get("title", "").strip() or len(form["title"]) > _MAX_TITLE_CHARACTERS:
        errors.append(FieldError("title", N_("Say in a few words what it is about.")))
    if not form.get("text", "").strip():
        errors.append(FieldError("text", N_("Type the note.")))
    elif len(form["text"]) > MAX_NOTE_CHARACTERS:
        errors.append(FieldError("text", N_("The note is too long. Write a second one.")))
    return errors


async def _render_form(
    request: PortalRequest,
    patient: str,
    values: Mapping[str, str],
    token: str,
    errors: list[FieldError],
) -> Response:
    return request.render(
        "write_note.html",
        patient=patient,
        person=await require_person(request, patient),
        values=values,
        token=token,
        errors=errors,
        kinds={code: title for code, (_, title) in NOTE_KINDS.items()},
        max_characters=MAX_NOTE_CHARACTERS,
    )
