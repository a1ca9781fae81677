"""One task: close part of the record, to whom, how firmly and for how long."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_portal.gateway.operations import listed
from ehr_portal.i18n import N_
from ehr_portal.pages.patient_record import own
from ehr_portal.record.record import providers
from ehr_portal.record.sections import DOMAINS, KINDS
from ehr_portal.sharing import consents
from ehr_portal.sharing.restrictions import LABELS, PROFESSIONS, Choice
from ehr_portal.web.request import Form, Page, PatientPage

router = APIRouter()
FIRMNESS = {"hidden": N_("Closed"), "sealed": N_("Sealed")}
HINTS = {
    "hidden": N_("It opens in an emergency, and to those you agree to. Enough for most people."),
    "sealed": N_(
        "It stays closed even when your life is in danger. Doctors may then miss what they need "
        "to know to treat you safely."
    ),
}
EXTENT = {"record": N_("Only this entry"), "episode": N_("This visit and all recorded in it")}


@router.get("/sharing/close")
async def show(page: PatientPage, record: Annotated[str, Query()] = "") -> Response:
    """Show the form, for a single record when one is named."""
    return await _form(page, Choice(record=record if _is_record(record) else ""))


@router.post("/sharing/close")
async def close(page: PatientPage, form: Form) -> Response:
    """Close it."""
    choice = _choice(form)
    wrong = []
    if not choice.selects:
        wrong.append(("domain", N_("Choose what to close, or to whom.")))
    days = [day for day in (choice.first, choice.last, choice.until) if day]
    if not all(_is_day(day) for day in days):
        wrong.append(("until", N_("Type a day as year-month-day.")))
    elif choice.until and choice.until < page.now.date().isoformat():
        wrong.append(("until", N_("Choose a day that is still to come.")))
    elif choice.first and choice.last and choice.last < choice.first:
        wrong.append(("first", N_("The period ends before it begins.")))
    if choice.sealed and not form.get("understood"):
        wrong.append(("understood", N_("Say that you understand what sealing means.")))
    if not wrong:
        try:
            await page.gateway.create(consents.closed(own(page), page.now, choice))
        except Invalid:
            wrong.append(("domain", N_("This cannot be closed in this way.")))
    if wrong:
        return await _form(page, choice, wrong)
    page.stay.note("done", page.text(N_("It is closed from this moment.")))
    return page.go("/sharing#close")


def _choice(form: Form) -> Choice:
    names = ("domain", "label", "author", "record", "first", "last", "against", "besides", "until")
    given = {name: form.get(name, "").strip() for name in names}
    choice = Choice(**given | {"against": given["against"] or "everyone"})  # type: ignore[arg-type]
    choice = replace(choice, sealed=form.get("firmness") == "sealed")
    if choice.record and not _is_record(choice.record):
        choice = replace(choice, record="")
    if form.get("extent") == "episode" and choice.record.startswith("Encounter/"):
        return replace(choice, record="", episode=choice.record)
    return choice


async def _form(page: Page, choice: Choice, wrong: list[tuple[str, str]] | None = None) -> Response:
    known, asked = await asyncio.gather(
        providers(page.gateway),
        listed(page.gateway, f"Patient/{own(page)}/$access-requests", "request"),
    )
    return page.render(
        "close.html",
        status=422 if wrong else 200,
        choice=choice,
        record=choice.record or choice.episode,
        known={name: one for name, one in known.items() if not one.platform},
        people={one.person: one.display for one in asked},
        DOMAINS=DOMAINS,
        KINDS=KINDS,
        LABELS=LABELS,
        PROFESSIONS=PROFESSIONS,
        FIRMNESS=FIRMNESS,
        HINTS=HINTS,
        EXTENT=EXTENT,
        wrong=wrong or [],
    )


def _is_record(text: str) -> bool:
    kind, _, identity = text.partition("/")
    return kind in KINDS and bool(identity) and "/" not in identity and len(identity) <= 64


def _is_day(text: str) -> bool:
    try:
        return len(text) == len("2026-01-01") and bool(date.fromisoformat(text))
    except ValueError:
        return False
