"""The patient's requests: who asks to see more, who may now, and what was before."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Forbidden, NotFound
from ehr_portal.gateway.operations import Step, listed, parameters
from ehr_portal.i18n import N_
from ehr_portal.pages.patient_record import own
from ehr_portal.record.record import consents, providers
from ehr_portal.record.sections import DOMAINS
from ehr_portal.sharing.consents import in_force, lifted
from ehr_portal.web.request import Form, PatientPage

router = APIRouter()


@router.get("/requests")
async def show(page: PatientPage) -> Response:
    """Show what waits for an answer, what holds now and what is over."""
    found, choices, known = await asyncio.gather(
        listed(page.gateway, f"Patient/{own(page)}/$access-requests", "request"),
        consents(page.gateway, own(page)),
        providers(page.gateway),
    )
    holds = {one["id"] for one in choices if in_force(one, page.now)}
    waiting = [one for one in found if one.open == "true"]
    now = [one for one in found if one.state == "active" and one.consent in holds]
    over = [one for one in found if one not in waiting and one not in now]
    return page.render(
        "requests.html", waiting=waiting, now=now, over=over[:20], known=known, DOMAINS=DOMAINS
    )


@router.post("/requests/answer")
async def answer(page: PatientPage, form: Form) -> Response:
    """Approve or refuse."""
    approves = form.get("to") == "approve"
    operation = "$approve-access" if approves else "$refuse-access"
    try:
        await page.gateway.call(operation, parameters(request=form.get("request", "")))
    except Conflict:
        page.stay.note("problem", page.text(N_("This request is answered or too old.")))
    except Forbidden:
        text = N_("Tell the code in your notices to the one who asks; that is how you approve.")
        page.stay.note("problem", page.text(text))
    else:
        said = N_("You agreed. You can end it at any time on this page.")
        page.stay.note("done", page.text(said if approves else N_("You refused. Nothing opened.")))
    return page.go("/requests")


@router.post("/requests/end")
async def end(page: PatientPage, form: Form) -> Response:
    """End a grant or an emergency at once."""
    found: list[Step] = await listed(
        page.gateway, f"Patient/{own(page)}/$access-requests", "request"
    )
    consent = form.get("consent", "")
    if consent not in {one.consent for one in found}:
        raise NotFound("There is no such access.")
    await page.gateway.update(lifted(await page.gateway.read("Consent", consent)))
    page.stay.note("done", page.text(N_("It is ended from this moment.")))
    return page.go("/requests")
