"""A clinician writes down an allergy or intolerance."""

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
from ehr_portal.record.form_fields import length_faults
from ehr_portal.record.new_entries import (
    ALLERGY_CATEGORIES,
    CERTAINTIES,
    CRITICALITIES,
    MAX_TEXT_CHARACTERS,
    SEVERITIES,
    build_allergy,
)
from ehr_portal.record.new_prescriptions import known_medicines
from ehr_portal.web.forms import FieldError, VerifiedForm, translate_faults
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
# Fields of free text.
_TEXTS = ("substance", "reaction", "note")
_CHOICES = {
    "category": ALLERGY_CATEGORIES,
    "criticality": CRITICALITIES,
    "severity": SEVERITIES,
    "certainty": CERTAINTIES,
}


@router.get("/patients/{patient}/write/allergy")
async def show_allergy_form(request: ClinicianRequest, patient: str) -> Response:
    """Show the form."""
    return await _render_form(request, patient, {}, new_token(), [])


@router.post("/patients/{patient}/write/allergy")
async def write_allergy(request: ClinicianRequest, patient: str, form: VerifiedForm) -> Response:
    """Keep the allergy."""
    token = token_of(form)
    fields = {name: value.strip() for name, value in form.items()}
    too_long = length_faults(fields, _TEXTS, MAX_TEXT_CHARACTERS)
    errors = _find_errors(fields) + translate_faults(request, too_long)
    if not errors:
        allergy = build_allergy(patient, entry_author(request), fields, token, request.now)
        try:
            stored = await create_once(request, allergy)
        except FormSentBefore:
            token, errors = new_token(), [sent_before_error("substance")]
        except REFUSALS:
            errors = [refusal_error("substance")]
        else:
            request.flash(N_("The allergy is in the record."))
            return request.redirect(f"/patients/{patient}/item/AllergyIntolerance/{stored['id']}")
    return await _render_form(request, patient, form, token, errors)


def _find_errors(fields: Mapping[str, str]) -> list[FieldError]:
    errors = []
    if not fields.get("substance"):
        errors.append(FieldError("substance", N_("Type what the patient is allergic to.")))
    errors += [
        FieldError(name, N_("Choose one."))
        for name, known in _CHOICES.items()
        if fields.get(name, "") not in known
    ]
    if fields.get("severity") and not fields.get("reaction"):
        errors.append(FieldError("reaction", N_("Say what the reaction was.")))
    return errors


async def _render_form(
    request: PortalRequest,
    patient: str,
    values: Mapping[str, str],
    token: str,
    errors: list[FieldError],
) -> Response:
    return request.render(
        "write_allergy.html",
        patient=patient,
        person=await require_person(request, patient),
        values=values,
        token=token,
        errors=errors,
        # None is chosen beforehand: a risk that nobody thought of would stand in the record.
        choices={
            name: known if "" in known else {"": N_("Choose"), **known}
            for name, known in _CHOICES.items()
        },
        suggestions=known_medicines(),
        max_characters=MAX_TEXT_CHARACTERS,
    )
