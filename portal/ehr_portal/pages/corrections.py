"""Corrections: the patient asks and states, the author's clinicians answer, the steward watches.

What is typed here is record content: it goes by POST, and stands in no address and no log.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Gone, Invalid, NotFound, TooMany
from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import (
    MultiPartParameter,
    build_parameters,
    fetch_corrections,
    parse_multi_parts,
)
from ehr_portal.i18n import N_
from ehr_portal.pages.record_views import fetch_person
from ehr_portal.record.record import fetch_providers
from ehr_portal.record.rows import build_row
from ehr_portal.record.sections import TYPE_TITLES
from ehr_portal.web.forms import FieldError, PatientForm, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import (
    ClinicianRequest,
    CorrectionReaderRequest,
    DeciderRequest,
    PatientRequest,
)

router = APIRouter()
NAVIGATION = (
    NavigationLink("patient", "/corrections", N_("Corrections"), 45),
    NavigationLink(
        "carer", "/corrections", N_("Corrections"), 70, lambda user: user.decides_for_patient
    ),
    *(
        NavigationLink(role, "/corrections/to-answer", N_("Corrections"), 27)
        for role in ("clinician", "steward")
    ),
)
STATE_TITLES = {
    "requested": N_("Waiting for an answer"),
    "accepted": N_("Accepted"),
    "refused": N_("Refused"),
}
OUTCOME_TITLES = {
    "accepted": N_("Accept: we correct the record"),
    "refused": N_("Refuse"),
}
RecordId = Annotated[str, Path(max_length=64)]
_SAY_MORE = N_("Write a sentence or two, of 500 characters at most.")


@router.get("/corrections")
async def show_corrections(request: DeciderRequest) -> Response:
    """Show the patient's requests, with their answers and statements."""
    return await _render_corrections(request)


@router.get("/corrections/ask/{resource_type}/{resource_id}")
async def show_request_form(
    request: DeciderRequest, resource_type: str, resource_id: RecordId
) -> Response:
    """Show the form that asks for a correction of one record."""
    return await _render_request_form(request, resource_type, resource_id)


@router.post("/corrections/ask/{resource_type}/{resource_id}")
async def ask_for_correction(
    request: PatientRequest, resource_type: str, resource_id: RecordId, form: PatientForm
) -> Response:
    """Put the request before whoever wrote the record."""
    text = form.get("text", "").strip()
    parameters = build_parameters(record=f"{resource_type}/{resource_id}", text=text)
    try:
        await request.gateway.invoke(f"Patient/{request.patient}/$request-correction", parameters)
    except Conflict:
        request.flash_problem(N_("A correction of this record is asked for already."))
    except TooMany:
        request.flash_problem(N_("Many of your requests wait. Wait for the answers first."))
    except Invalid:
        error = FieldError("text", _SAY_MORE)
        return await _render_request_form(request, resource_type, resource_id, text, [error])
    else:
        request.flash(N_("Your request is sent. You get an answer within 40 days."))
    return request.redirect("/corrections")


@router.post("/corrections/statement")
async def attach_statement(request: PatientRequest, form: PatientForm) -> Response:
    """Attach the patient's own words to a record whose correction was refused."""
    correction, text = form.get("request", ""), form.get("text", "").strip()
    parameters = build_parameters(request=correction, text=text)
    try:
        await request.gateway.invoke("$attach-statement", parameters)
    except (Conflict, NotFound):
        request.flash_problem(N_("A statement can stand with what was refused, and nothing else."))
    except Invalid:
        error = FieldError(f"text-{correction}", _SAY_MORE)
        return await _render_corrections(request, {correction: text}, [error])
    else:
        request.flash(N_("Your words now stand with the record. Whoever reads it finds them."))
    return request.redirect("/corrections")


@router.get("/corrections/to-answer")
async def show_corrections_to_answer(request: CorrectionReaderRequest) -> Response:
    """Show what waits for an answer, what is accepted and not done, and what is over."""
    corrections, providers = await asyncio.gather(
        _fetch_corrections_to_answer(request), fetch_providers(request.gateway)
    )
    undone = [c for c in corrections if c.state == "accepted" and not c.changed]
    pending = [c for c in corrections if c.state == "requested"]
    return request.render(
        "corrections_to_answer.html",
        # The one that is due first stands first.
        pending=sorted(pending, key=lambda correction: correction.due),
        undone=undone,
        done=[c for c in corrections if c not in pending and c not in undone],
        now=request.now.isoformat(),
        providers=providers,
        STATE_TITLES=STATE_TITLES,
        TYPE_TITLES=TYPE_TITLES,
    )


@router.get("/corrections/to-answer/{correction_id}")
async def show_answer_form(request: ClinicianRequest, correction_id: RecordId) -> Response:
    """Show one request, the record it is about, and the form of the answer."""
    return await _render_answer_form(request, correction_id)


@router.post("/corrections/to-answer/{correction_id}")
async def answer_correction(
    request: ClinicianRequest, correction_id: RecordId, form: VerifiedForm
) -> Response:
    """Send the answer."""
    outcome, reason = form.get("outcome", ""), form.get("reason", "").strip()
    if outcome not in OUTCOME_TITLES:
        error = FieldError("outcome", N_("Choose an answer."))
        return await _render_answer_form(request, correction_id, outcome, reason, [error])
    parameters = build_parameters(request=correction_id, outcome=outcome, reason=reason)
    try:
        await request.gateway.invoke("$answer-correction", parameters)
    except Conflict:
        request.flash_problem(N_("This request is answered already."))
    except Invalid:
        error = FieldError("reason", _SAY_MORE)
        return await _render_answer_form(request, correction_id, outcome, reason, [error])
    else:
        request.flash(N_("The answer is sent. The patient is told that there is one."))
    return request.redirect("/corrections/to-answer")


async def _fetch_corrections_to_answer(request: PortalRequest) -> list[MultiPartParameter]:
    return parse_multi_parts(await request.gateway.invoke_by_get("$corrections"), "correction")


async def _render_corrections(
    request: PortalRequest,
    typed: dict[str, str] | None = None,
    errors: list[FieldError] | None = None,
) -> Response:
    corrections, providers = await asyncio.gather(
        fetch_corrections(request.gateway, f"Patient/{request.patient}"),
        fetch_providers(request.gateway),
    )
    return request.render(
        "corrections.html",
        corrections=corrections,
        typed=typed or {},
        providers=providers,
        STATE_TITLES=STATE_TITLES,
        TYPE_TITLES=TYPE_TITLES,
        errors=errors or [],
    )


async def _render_request_form(
    request: PortalRequest,
    resource_type: str,
    resource_id: str,
    text: str = "",
    errors: list[FieldError] | None = None,
) -> Response:
    if resource_type not in TYPE_TITLES:
        raise NotFound("There is no such record.")
    resource, providers = await asyncio.gather(
        request.gateway.read(resource_type, resource_id), fetch_providers(request.gateway)
    )
    row = build_row(resource, {}, request.language, request.now)
    return request.render(
        "request_correction.html",
        row=row,
        reference=f"{resource_type}/{resource_id}",
        provider=providers.get(row.author or ""),
        text=text,
        TYPE_TITLES=TYPE_TITLES,
        errors=errors or [],
    )


async def _render_answer_form(
    request: PortalRequest,
    correction_id: str,
    outcome: str = "",
    reason: str = "",
    errors: list[FieldError] | None = None,
) -> Response:
    corrections = await _fetch_corrections_to_answer(request)
    correction = next((c for c in corrections if c.id == correction_id), None)
    if correction is None or correction.state != "requested":
        raise NotFound("There is no such request.")
    resource_type, _, resource_id = correction.record.partition("/")
    resource, person = await asyncio.gather(
        _read_unless_gone(request, resource_type, resource_id),
        fetch_person(request, correction.patient),
    )
    return request.render(
        "answer_correction.html",
        correction=correction,
        # A record that was deleted since the patient asked is answered all the same.
        row=build_row(resource, {}, request.language, request.now) if resource else None,
        person=person,
        outcome=outcome,
        reason=reason,
        OUTCOME_TITLES=OUTCOME_TITLES,
        TYPE_TITLES=TYPE_TITLES,
        errors=errors or [],
    )


async def _read_unless_gone(
    request: PortalRequest, resource_type: str, resource_id: str
) -> Resource | None:
    try:
        return await request.gateway.read(resource_type, resource_id)
    except Gone:
        return None
