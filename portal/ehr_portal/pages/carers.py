"""Carers: the patient lets somebody help and ends it; the carer chooses for whom to act."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import EhrError, Invalid, NotFound, TooMany
from ehr_portal.gateway.operations import Step, listed, parameters, steps, values
from ehr_portal.i18n import N_
from ehr_portal.pages.patient_record import own
from ehr_portal.record.display import person_name
from ehr_portal.record.record import patient_or_none
from ehr_portal.record.sections import DOMAINS
from ehr_portal.web.request import CarerPage, Form, Page, PatientPage

router = APIRouter()
POWERS = {
    "view": N_("See the record"),
    "manage": N_("Decide about sharing"),
    "both": N_("See the record and decide about sharing"),
}


async def _several(page: PatientPage) -> list[str]:
    form = await page.request.form()
    return [str(one) for one in form.getlist("domain")]


Ticked = Annotated[list[str], Depends(_several)]


@router.get("/carers")
async def show(page: PatientPage) -> Response:
    """Show who helps, and the form that invites somebody."""
    return await _show(page)


@router.post("/carers/invite")
async def invite(page: PatientPage, form: Form, ticked: Ticked) -> Response:
    """Make an invitation and show its code, once."""
    body = parameters(
        power=form.get("power", "view"), domain=ticked, until=form.get("until", "").strip()
    )
    try:
        made = await page.gateway.call(f"Patient/{own(page)}/$invite-carer", body)
    except TooMany:
        wrong = [("power", N_("There are too many open invitations. Take one back first."))]
        return await _show(page, wrong=wrong)
    except Invalid:
        return await _show(page, wrong=[("until", N_("Choose a day that is still to come."))])
    return await _show(page, code=values(made)["code"][0])


@router.post("/carers/end")
async def end(page: PatientPage, form: Form) -> Response:
    """End a carer's power, or take an invitation back."""
    await page.gateway.call("$end-carer", parameters(carer=form.get("carer", "")))
    page.stay.note("done", page.text(N_("It is ended from this moment.")))
    return page.go("/carers")


@router.get("/people")
async def people(page: CarerPage) -> Response:
    """Show whom the carer may act for."""
    return await _people(page)


@router.post("/people/accept")
async def accept(page: CarerPage, form: Form) -> Response:
    """Take up an invitation."""
    try:
        await page.gateway.call("$accept-invitation", parameters(code=form.get("code", "").strip()))
    except TooMany:
        return await _people(page, [("code", N_("Too many codes were tried. Wait a while."))])
    except (NotFound, Invalid):
        wrong = N_("This code opens nothing. Check it with the person who gave it to you.")
        return await _people(page, [("code", wrong)])
    page.stay.note("done", page.text(N_("You can now act for this person.")))
    return page.go("/people")


@router.post("/people/choose")
async def choose(page: CarerPage, form: Form) -> Response:
    """Act for one person from now on, or for nobody."""
    wanted = form.get("patient", "")
    found = [one for one in await _whom(page) if one.patient == wanted]
    if not found:
        page.stay.user = replace(
            page.user, patient=None, acting_latin="", acting_han="", manages=False
        )
        return page.go("/people")
    body = await patient_or_none(page.gateway, wanted)
    name = person_name(body) if body else None
    page.stay.user = replace(
        page.user,
        patient=wanted,
        acting_latin=name.latin if name else "",
        acting_han=name.han if name else "",
        manages=found[0].manage == "true",
    )
    return page.go("/record" if found[0].view == "true" else "/sharing")


async def _show(page: Page, code: str = "", wrong: list[tuple[str, str]] | None = None) -> Response:
    found = await listed(page.gateway, f"Patient/{own(page)}/$carers", "carer")
    return page.render(
        "carers.html",
        status=422 if wrong else 200,
        active=[one for one in found if one.state == "active"],
        invited=[one for one in found if one.state == "proposed"],
        code=" ".join(code[at : at + 4] for at in range(0, len(code), 4)),
        POWERS=POWERS,
        DOMAINS=DOMAINS,
        wrong=wrong or [],
    )


async def _people(page: Page, wrong: list[tuple[str, str]] | None = None) -> Response:
    found = await _whom(page)
    bodies = await asyncio.gather(
        *(patient_or_none(page.gateway, one.patient) for one in found), return_exceptions=True
    )
    named = [
        (one, None if body is None or isinstance(body, BaseException) else person_name(body))
        for one, body in zip(found, bodies, strict=True)
    ]
    return page.render("people.html", status=422 if wrong else 200, people=named, wrong=wrong or [])


async def _whom(page: Page) -> list[Step]:
    try:
        return steps(await page.gateway.ask("$acting-for"), "person")
    except EhrError as error:
        if error.status in (403, 404):
            return []
        raise
