"""Who looked: every access to the patient's record, told in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_portal.gateway.client import Found
from ehr_portal.i18n import day_start
from ehr_portal.oversight.access_history import PURPOSES, REASONS, ROLES, Visit, visits
from ehr_portal.pages.patient_record import own
from ehr_portal.record.record import providers
from ehr_portal.record.sections import DOMAINS
from ehr_portal.web.request import Page, PatientPage

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
    organization: Annotated[str, Query()] = "",
    person: Annotated[str, Query()] = "",
    domain: Annotated[str, Query()] = "",
    since: Annotated[str, Query(alias="from")] = "",
    until: Annotated[str, Query(alias="to")] = "",
) -> Response:
    """Show who looked, newest first, of all or of those asked for."""
    chosen = {
        "organization": organization, "person": person, "domain": domain, "from": since,
        "to": until, "mine": mine,
    }  # fmt: skip
    found, following = await _visits(page, older, _asked(chosen), own_too=bool(mine))
    known = await providers(page.gateway)
    kept = {name: value for name, value in chosen.items() if value}
    return page.render(
        "who_looked.html",
        visits=found,
        older=page.stay.remember(following) if following else "",
        first=not older,
        mine=bool(mine),
        known=known,
        chosen=chosen,
        filtered=bool(set(kept) - {"mine"}),
        with_mine=_address(kept | {"mine": "1"}),
        without_mine=_address(kept | {"mine": ""}),
        newest=_address(kept),
        address=_address,
        DOMAINS=DOMAINS,
        REASONS=REASONS,
        ROLES=ROLES,
        PURPOSES=PURPOSES,
    )


def _asked(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of the gateway's search; what is no day or domain asks for nothing."""
    asked = {}
    if chosen["person"]:
        asked["altid"] = chosen["person"]
    if chosen["organization"]:
        asked["agent"] = f"Organization/{chosen['organization']}"
    if chosen["domain"] in DOMAINS:
        asked["domain"] = chosen["domain"]
    for name, prefix in (("from", "ge"), ("to", "lt")):
        try:
            day = date.fromisoformat(chosen[name])
        except ValueError:
            continue
        # The day meant is the place's own, to its end.
        end = day + timedelta(days=1) if name == "to" else day
        asked[f"date:{name}"] = f"{prefix}{day_start(end)}"
    return asked


def _address(values: Mapping[str, str]) -> str:
    kept = {name: value for name, value in values.items() if value}
    return f"/who-looked?{urlencode(kept)}" if kept else "/who-looked"


async def _visits(
    page: Page, older: str, asked: Mapping[str, str], *, own_too: bool
) -> tuple[list[Visit], str | None]:
    link = page.stay.recall(older) if older else None
    found: Found
    if link:
        found = await page.gateway.follow(link)
    else:
        # Two limits of time are one parameter, given twice.
        pairs = [(name.partition(":")[0], value) for name, value in asked.items()]
        query = urlencode([("patient", own(page)), ("_count", EVENTS), *pairs])
        found = await page.gateway.follow(f"/fhir/AuditEvent?{query}")
    events = list(found.matches)
    for _ in range(PAGES):
        told = [v for v in visits(events, own(page)) if own_too or not v.own]
        if len(told) >= ENOUGH or found.next is None:
            break
        found = await page.gateway.follow(found.next)
        events += found.matches
    return told, found.next
