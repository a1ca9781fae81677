"""Sharing: a switch for each hospital and clinic, and what the patient has closed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.pages.patient_record import own
from ehr_portal.record.record import consents, providers
from ehr_portal.record.sections import DOMAINS, KINDS
from ehr_portal.sharing import consents as sharing
from ehr_portal.sharing.restrictions import LABELS, PROFESSIONS
from ehr_portal.web.request import Form, Page, PatientPage, local_path

router = APIRouter()
ONE_YEAR = timedelta(days=365)


@router.get("/sharing")
async def show(page: PatientPage) -> Response:
    """Show every switch and every closed part."""
    known, choices = await asyncio.gather(
        providers(page.gateway), consents(page.gateway, own(page))
    )
    holding = {one["id"] for one in choices if sharing.in_force(one, _now(page))}
    return page.render(
        "sharing.html",
        switches=sharing.switches(known.values(), choices, _now(page)),
        restrictions=[one for one in sharing.restrictions(choices) if one.consent in holding],
        ended=[(one, sharing.category(one)) for one in sharing.ended(choices, _now(page))][:20],
        joined=sharing.joined(choices),
        known=known,
        DOMAINS=DOMAINS,
        KINDS=KINDS,
        LABELS=LABELS,
        PROFESSIONS=PROFESSIONS,
    )


@router.post("/sharing/organization/{organization}")
async def switch(page: PatientPage, organization: str, form: Form) -> Response:
    """Turn sharing with one organisation on or off, as the form says: a repeat is harmless."""
    known, choices = await asyncio.gather(
        providers(page.gateway), consents(page.gateway, own(page))
    )
    if organization not in known or known[organization].platform:
        raise NotFound("There is no such organisation.")
    provider, now = known[organization], _now(page)
    name = str(provider.name(page.language))
    if form.get("to") == "off":
        writes = sharing.turn_off(organization, provider, choices, own(page), now)
        message = N_(
            "Sharing with %(name)s is off. From this moment it no longer sees your shared record. "
            "It still sees what it wrote itself."
        )
    else:
        until = now + ONE_YEAR if form.get("term") == "year" else None
        writes = sharing.turn_on(organization, provider, choices, own(page), now, until)
        message = N_("Sharing with %(name)s is on. From this moment it can see your shared record.")
    await _write(page, writes)
    page.stay.note("done", page.text(message, name=name))
    return page.go("/sharing")


@router.post("/sharing/restrict")
async def restrict(page: PatientPage, form: Form) -> Response:
    """Close a kind of records or a single record, for everyone or for one organisation."""
    domain, record, against = (form.get(name, "") for name in ("domain", "record", "against"))
    known = await providers(page.gateway)
    whole = not domain and not record
    if whole or (domain and domain not in DOMAINS) or (against and against not in known):
        page.stay.note("problem", page.text(N_("Choose what to close.")))
        return page.go("/sharing#close")
    if record:
        await page.gateway.read(*record.partition("/")[::2])
    closed = sharing.restriction(
        own(page),
        _now(page),
        domain=domain or None,
        organization=against or None,
        record=record or None,
    )
    await page.gateway.create(closed)
    what = page.text(DOMAINS[domain]) if domain else page.text(N_("This record"))
    if against:
        name = str(known[against].name(page.language))
        message = N_(
            "%(what)s: closed to %(name)s from this moment. It still sees what it wrote itself."
        )
        page.stay.note("done", page.text(message, what=what, name=name))
    else:
        message = N_(
            "%(what)s: closed to everyone from this moment. Who wrote a record still sees it."
        )
        page.stay.note("done", page.text(message, what=what))
    return page.go(f"/record/item/{record}" if record else "/sharing")


@router.post("/sharing/lift")
async def lift(page: PatientPage, form: Form) -> Response:
    """Open again what one restriction closed."""
    consent = await page.gateway.read("Consent", form.get("consent", ""))
    if sharing.category(consent) != "restriction":
        raise NotFound("There is no such restriction.")
    await page.gateway.update(sharing.lifted(consent))
    page.stay.note("done", page.text(N_("It is open again, to those you share your record with.")))
    return page.go(local_path(form.get("back", "/sharing")))


async def _write(page: Page, writes: Iterable[Resource]) -> None:
    for consent in writes:
        if "id" in consent:
            await page.gateway.update(consent)
        else:
            await page.gateway.create(consent)


def _now(page: Page) -> datetime:
    return datetime.fromtimestamp(page.portal.settings.clock(), UTC)
