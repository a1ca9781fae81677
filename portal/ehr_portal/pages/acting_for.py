"""The carer's patients: accept an invitation, and choose for whom to act."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotFound, TooMany
from ehr_portal.gateway.operations import build_parameters, fetch_acting_for
from ehr_portal.i18n import N_
from ehr_portal.record.display import person_name
from ehr_portal.record.record import fetch_patient_or_none
from ehr_portal.web.carer_powers import act_for_nobody, fetch_powers, set_powers
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import CarerRequest

router = APIRouter()
NAVIGATION = (NavigationLink("carer", "/people", N_("People you care for"), 10),)


@router.get("/people")
async def show_patients(request: CarerRequest) -> Response:
    """Show for whom the carer may act."""
    return await _render_patients(request)


@router.post("/people/accept")
async def accept_invitation(request: CarerRequest, form: VerifiedForm) -> Response:
    """Accept an invitation by its code."""
    parameters = build_parameters(code=form.get("code", "").strip())
    try:
        await request.gateway.invoke("$accept-invitation", parameters)
    except TooMany:
        text = N_("Too many codes were tried. Wait a while.")
        return await _render_patients(request, FieldError("code", text))
    except (NotFound, Invalid):
        text = N_("This code opens nothing. Check it with the person who gave it to you.")
        return await _render_patients(request, FieldError("code", text))
    request.flash(N_("You can now act for this person."))
    return request.redirect("/people")


@router.post("/people/choose")
async def choose_patient(request: CarerRequest, form: VerifiedForm) -> Response:
    """Act for one patient from now on, or for nobody."""
    patient = form.get("patient", "")
    powers = await fetch_powers(request.gateway, patient)
    if powers is None:
        request.session.user = act_for_nobody(request.user)
        return request.redirect("/people")
    # A carer who only decides about sharing does not see the Patient.
    resource = await fetch_patient_or_none(request.gateway, patient)
    name = person_name(resource) if resource else None
    chosen = replace(
        request.user,
        patient=patient,
        acting_latin=name.latin if name else "",
        acting_han=name.han if name else "",
    )
    request.session.user = set_powers(chosen, powers)
    return request.redirect("/home" if powers.view == "true" else "/sharing")


async def _render_patients(request: PortalRequest, error: FieldError | None = None) -> Response:
    people = await fetch_acting_for(request.gateway)
    resources = await asyncio.gather(
        *(fetch_patient_or_none(request.gateway, person.patient) for person in people),
        # One patient who is not shown must not hide the others.
        return_exceptions=True,
    )
    people_and_names = [
        (
            person,
            None
            if resource is None or isinstance(resource, BaseException)
            else person_name(resource),
        )
        for person, resource in zip(people, resources, strict=True)
    ]
    request.session.people = [
        [person.patient, name.latin if name else "", name.han if name else ""]
        for person, name in people_and_names
    ]
    return request.render(
        "acting_for.html",
        people_and_names=people_and_names,
        errors=[error] if error else [],
    )
