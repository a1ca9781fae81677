"""The clinician's pages: find a patient, read what the gateway shows of the record."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_portal.gateway.operations import listed, marker
from ehr_portal.pages.hold_result import HELD
from ehr_portal.pages.record_views import (
    item_of,
    person,
    shared_values,
    show_record,
    show_section,
)
from ehr_portal.record.display import card_number
from ehr_portal.record.record import providers
from ehr_portal.web.request import ClinicianPage, Form

router = APIRouter()
MOST = 20


@router.get("/patients")
async def find(page: ClinicianPage, search: Annotated[str, Query()] = "") -> Response:
    """Show the search form and, for a search of this session, what was found."""
    typed = page.stay.recall(search) if search else None
    if typed is None:
        return page.render("find.html", typed="", found=None, more=False)
    number = card_number(typed)
    params = {"identifier": number} if number else {"name": typed}
    results = await page.gateway.search_privately("Patient", {**params, "_count": str(MOST)})
    found = [(patient["id"], person(patient)) for patient in results.matches]
    return page.render("find.html", typed=typed, found=found, more=results.next is not None)


@router.post("/patients")
async def search_patients(page: ClinicianPage, form: Form) -> Response:
    """Take a search by POST, so that no card number or name stands in an address."""
    typed = form.get("who", "").strip()[:100]
    return page.go(f"/patients?search={page.stay.remember(typed)}" if typed else "/patients")


@router.get("/patients/{patient}")
async def record(page: ClinicianPage, patient: str) -> Response:
    """Show what is shared of a patient's record."""
    found, held = await asyncio.gather(
        marker(page.gateway, patient), listed(page.gateway, f"Patient/{patient}/$held", "held")
    )
    base = f"/patients/{patient}"
    return await show_record(page, patient, base, "record.html", marker=found, held=held)


@router.get("/patients/{patient}/item/{resource_type}/{resource_id}")
async def item(page: ClinicianPage, patient: str, resource_type: str, resource_id: str) -> Response:
    """Show one record."""
    found, known, held = await asyncio.gather(
        item_of(page, resource_type, resource_id, patient),
        providers(page.gateway),
        listed(page.gateway, f"Patient/{patient}/$held", "held"),
    )
    reference = f"{resource_type}/{resource_id}"
    hold = next((one for one in held if one.record == reference), None)
    mine = resource_type in HELD and found.entry.author == page.user.organization
    return page.render(
        "item.html",
        **shared_values(page, f"/patients/{patient}", known),
        item=found,
        reference=reference,
        closed=[],
        known=known,
        can_close=False,
        hold=hold,
        can_hold=mine and hold is None,
    )


@router.get("/patients/{patient}/{key}")
async def section(
    page: ClinicianPage,
    patient: str,
    key: str,
    start: Annotated[int, Query(ge=0, alias="from")] = 0,
) -> Response:
    """Show one section."""
    return await show_section(page, patient, key, f"/patients/{patient}", start)
