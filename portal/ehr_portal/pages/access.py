"""Who looked: every access to the patient's record, told in plain words."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_portal.gateway import Found
from ehr_portal.looked import PURPOSES, ROLES, Visit, visits
from ehr_portal.page import Page, PatientPage
from ehr_portal.pages.patient import own
from ehr_portal.record import providers

router = APIRouter()
EVENTS = "200"
ENOUGH = 25
# The patient's own many reads lie between the visits of others.
PAGES = 10


@router.get("/who-looked")
async def who_looked(
    page: PatientPage,
    older: Annotated[str, Query()] = "",
    mine: Annotated[str, Query()] = "",
) -> Response:
    """Show who looked, newest first."""
    found, following = await _visits(page, older, own_too=bool(mine))
    known = await providers(page.gateway)
    return page.render(
        "who_looked.html",
        visits=found,
        older=page.stay.remember(following) if following else "",
        first=not older,
        mine=bool(mine),
        known=known,
        ROLES=ROLES,
        PURPOSES=PURPOSES,
    )


async def _visits(page: Page, older: str, *, own_too: bool) -> tuple[list[Visit], str | None]:
    link = page.stay.recall(older) if older else None
    found: Found
    if link:
        found = await page.gateway.follow(link)
    else:
        found = await page.gateway.search("AuditEvent", {"patient": own(page), "_count": EVENTS})
    events = list(found.matches)
    for _ in range(PAGES):
        told = [v for v in visits(events, own(page)) if own_too or not v.own]
        if len(told) >= ENOUGH or found.next is None:
            break
        found = await page.gateway.follow(found.next)
        events += found.matches
    return told, found.next
