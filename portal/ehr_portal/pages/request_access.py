"""The clinician asks the patient for access: reason, domains, term; then the patient's answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, EhrError, Forbidden, NotFound, TooMany, Unprocessable
from ehr_portal.gateway.operations import Step, listed, marker, parameters, values
from ehr_portal.i18n import N_
from ehr_portal.pages.record_views import person
from ehr_portal.record.record import patient_or_none
from ehr_portal.record.sections import DOMAINS
from ehr_portal.web.request import ClinicianPage, Form, Page

router = APIRouter()
HOURS = {"24": N_("One day"), "168": N_("One week"), "720": N_("30 days")}
WRONG_REASON = N_("Say in a sentence why you need it.")


async def _several(page: ClinicianPage) -> list[str]:
    # The checked form keeps the last of equal names; the boxes that were ticked are all wanted.
    form = await page.request.form()
    return [str(one) for one in form.getlist("domain")]


Ticked = Annotated[list[str], Depends(_several)]


@router.get("/patients/{patient}/ask")
async def ask(page: ClinicianPage, patient: str) -> Response:
    """Show the form."""
    found = await marker(page.gateway, patient)
    return await _form(page, patient, list(found.domains), "", "24")


@router.post("/patients/{patient}/ask")
async def send(page: ClinicianPage, patient: str, form: Form, ticked: Ticked) -> Response:
    """Make the request and go on to the patient's answer."""
    reason, hours = form.get("reason", "").strip(), form.get("hours", "24")
    wrong = []
    if not ticked:
        wrong.append(("domain", N_("Choose what you need to see.")))
    if len(reason) < 3:
        wrong.append(("reason", WRONG_REASON))
    if not wrong:
        body = parameters(reason=reason, domain=ticked, hours=int(hours) if hours in HOURS else 24)
        try:
            made = values(await page.gateway.call(f"Patient/{patient}/$request-access", body))
            return page.go(f"/patients/{patient}/ask/{made['id'][0]}")
        except TooMany:
            wrong.append(("reason", N_("There were too many requests. Wait a while.")))
        except Unprocessable:
            wrong.append(("reason", WRONG_REASON))
    return await _form(page, patient, ticked, reason, hours, wrong)


@router.get("/patients/{patient}/ask/{request}")
async def waiting(page: ClinicianPage, patient: str, request: str) -> Response:
    """Show where a request stands, and take the patient's code."""
    return await _answer(page, patient, request)


@router.post("/patients/{patient}/ask/{request}")
async def redeem(page: ClinicianPage, patient: str, request: str, form: Form) -> Response:
    """Take the code, or the smart ID."""
    given = {name: form.get(name, "").strip() for name in ("code", "hkid", "pin")}
    try:
        await page.gateway.call("$redeem-access", parameters(request=request, **given))
    except Conflict:
        return page.go(f"/patients/{patient}/ask/{request}")
    except NotFound:
        raise
    except EhrError as error:
        if not isinstance(error, Forbidden | Unprocessable) and error.status not in (400, 401):
            raise
        field = "code" if given["code"] or not given["hkid"] else "hkid"
        wrong = [(field, N_("That is not right. Ask the patient again, or make a new request."))]
        return await _answer(page, patient, request, wrong)
    page.stay.note("done", page.text(N_("The patient agreed. You see more of the record now.")))
    return page.go(f"/patients/{patient}")


async def _form(
    page: Page,
    patient: str,
    ticked: list[str],
    reason: str,
    hours: str,
    wrong: list[tuple[str, str]] | None = None,
) -> Response:
    found = await patient_or_none(page.gateway, patient)
    if found is None:
        return page.render("nothing_shared.html", status=404, patient=patient)
    return page.render(
        "ask.html",
        status=422 if wrong else 200,
        patient=patient,
        person=person(found),
        ticked=ticked,
        reason=reason,
        hours=hours,
        HOURS=HOURS,
        DOMAINS=DOMAINS,
        wrong=wrong or [],
    )


async def _answer(
    page: Page, patient: str, request: str, wrong: list[tuple[str, str]] | None = None
) -> Response:
    found: list[Step] = await listed(page.gateway, f"Patient/{patient}/$access-requests", "request")
    mine = [one for one in found if one.id == request]
    if not mine:
        raise NotFound("There is no such request.")
    return page.render(
        "ask_code.html",
        status=422 if wrong else 200,
        patient=patient,
        request=mine[0],
        DOMAINS=DOMAINS,
        wrong=wrong or [],
    )
