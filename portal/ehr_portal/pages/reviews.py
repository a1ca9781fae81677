"""The steward's review of emergencies and step-ups, and how the notices leave."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Invalid, NotFound
from ehr_portal.gateway.operations import parameters, steps
from ehr_portal.i18n import N_
from ehr_portal.record.record import providers
from ehr_portal.record.sections import DOMAINS
from ehr_portal.web.request import Form, Page, StewardPage

router = APIRouter()
KINDS = {
    "emergency": N_("Emergency access"),
    "step-up": N_("Access by the patient's consent"),
    "substitute": N_("Who decides for a patient"),
}
FINDINGS = {"justified": N_("Justified"), "not-justified": N_("Not justified")}
STATES = {
    "sent": N_("Sent"),
    "waiting": N_("Waiting"),
    "failed": N_("Failed"),
    "no-address": N_("No address known"),
}
NOTICES = {
    "access-code": N_("A code to approve access"),
    "access-granted": N_("Access was granted"),
    "emergency": N_("Emergency access"),
    "first-access": N_("First access of an organisation"),
    "access": N_("An access"),
    "carer": N_("A carer was added"),
    "substitute": N_("Who decides for a patient"),
}


@router.get("/reviews")
async def show(page: StewardPage) -> Response:
    """Show what waits and what was reviewed."""
    waiting, done, known = await asyncio.gather(
        page.gateway.ask("$access-reviews"),
        page.gateway.ask("$access-reviews", state="done"),
        providers(page.gateway),
    )
    return page.render(
        "reviews.html",
        waiting=steps(waiting, "access"),
        done=steps(done, "access")[:30],
        known=known,
        KINDS=KINDS,
        FINDINGS=FINDINGS,
    )


@router.get("/reviews/{access}")
async def one(page: StewardPage, access: str) -> Response:
    """Show one access and the form of the finding."""
    return await _one(page, access)


@router.post("/reviews/{access}")
async def find(page: StewardPage, access: str, form: Form) -> Response:
    """Keep the finding."""
    finding, note = form.get("finding", ""), form.get("note", "").strip()
    wrong = [] if finding in FINDINGS else [("finding", N_("Choose what you found."))]
    if not wrong:
        body = parameters(access=access, finding=finding, note=note or "-")
        try:
            await page.gateway.call("$review-access", body)
            page.stay.note("done", page.text(N_("Your finding is on record.")))
            return page.go("/reviews")
        except Conflict:
            page.stay.note("problem", page.text(N_("It was reviewed a moment ago.")))
            return page.go("/reviews")
        except Invalid:
            wrong = [("note", N_("Write a short note for the record."))]
    return await _one(page, access, wrong, note, finding)


@router.get("/deliveries")
async def deliveries(page: StewardPage) -> Response:
    """Show how many notices left, and those that did not."""
    answer = await page.gateway.ask("$notice-deliveries")
    return page.render(
        "deliveries.html",
        counts=steps(answer, "count"),
        stuck=steps(answer, "delivery"),
        STATES=STATES,
        NOTICES=NOTICES,
    )


async def _one(
    page: Page,
    access: str,
    wrong: list[tuple[str, str]] | None = None,
    note: str = "",
    finding: str = "",
) -> Response:
    waiting, known = await asyncio.gather(
        page.gateway.ask("$access-reviews"), providers(page.gateway)
    )
    found = [step for step in steps(waiting, "access") if step.id == access]
    if not found:
        raise NotFound("There is no such access to review.")
    return page.render(
        "review.html",
        status=422 if wrong else 200,
        access=found[0],
        known=known,
        note=note,
        finding=finding,
        KINDS=KINDS,
        FINDINGS=FINDINGS,
        DOMAINS=DOMAINS,
        wrong=wrong or [],
    )
