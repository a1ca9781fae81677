"""The home of the patient, and of the carer who acts for one: tiles, each leading to its page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.pages.home_tiles import MAX_LINES, fetch_home, fetch_new_entries
from ehr_portal.pages.record_views import record_template_values
from ehr_portal.record.dosage import dosage_lines
from ehr_portal.record.rows import RecordRow
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.roles import RecordReaderRequest

router = APIRouter()
NAVIGATION = (
    NavigationLink("patient", "/home", N_("Home"), 5),
    NavigationLink("carer", "/home", N_("Home"), 25, lambda user: user.reads_for_patient),
)
# New entries on their own page. Chosen: what somebody reads at a sitting.
_MAX_NEW = 100


@router.get("/home")
async def show_home(request: RecordReaderRequest) -> Response:
    """Show the tiles."""
    tiles = await fetch_home(request)
    return request.render(
        "home.html",
        **record_template_values(request, "/record", tiles.providers),
        tiles=tiles,
        max_lines=MAX_LINES,
        dosage_of=lambda row: dosage_lines(_dosages_of(row), request.language),
    )


@router.get("/home/new")
async def show_new_entries(request: RecordReaderRequest) -> Response:
    """Show what entered the record since the last visit."""
    new, providers = await asyncio.gather(
        fetch_new_entries(request, _MAX_NEW), request.load_providers()
    )
    return request.render(
        "new_entries.html", **record_template_values(request, "/record", providers), new=new
    )


def _dosages_of(row: RecordRow) -> Sequence[Resource]:
    # A MedicationRequest has instructions, a MedicationStatement says how it is taken.
    dosages: Sequence[Resource] = row.resource.get("dosageInstruction", ())
    return dosages or row.resource.get("dosage", ())
