"""The patient's own record: all of it, one section, one record."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_portal.gateway.operations import listed
from ehr_portal.pages.record_views import item_of, shared_values, show_record, show_section
from ehr_portal.record.record import consents, providers
from ehr_portal.sharing import consents as sharing
from ehr_portal.web.request import Page, PatientPage

router = APIRouter()


@router.get("/record")
async def record(page: PatientPage) -> Response:
    """Show the whole record."""
    held = await listed(page.gateway, f"Patient/{own(page)}/$held", "held")
    return await show_record(page, own(page), "/record", "record.html", held=held)


@router.get("/record/item/{resource_type}/{resource_id}")
async def item(page: PatientPage, resource_type: str, resource_id: str) -> Response:
    """Show one record and who may see it."""
    found, known, choices = await asyncio.gather(
        item_of(page, resource_type, resource_id, own(page)),
        providers(page.gateway),
        consents(page.gateway, own(page)),
    )
    reference = f"{resource_type}/{resource_id}"
    closed = [line for line in sharing.restrictions(choices) if line.record == reference]
    return page.render(
        "item.html",
        **shared_values(page, "/record", known),
        item=found,
        reference=reference,
        closed=closed,
        known=known,
        can_close=page.user.role == "patient" or page.user.manages,
        hold=None,
        can_hold=False,
    )


@router.get("/record/{key}")
async def section(
    page: PatientPage, key: str, start: Annotated[int, Query(ge=0, alias="from")] = 0
) -> Response:
    """Show one section."""
    return await show_section(page, own(page), key, "/record", start)


def own(page: Page) -> str:
    """Return the id of the logged-in patient; the page's dependency made sure there is one."""
    return page.user.patient or ""
