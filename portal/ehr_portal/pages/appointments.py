"""The patient's appointments, still to come and past."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_portal.pages.record_views import record_template_values
from ehr_portal.record.appointments import build_appointments
from ehr_portal.record.record import MAX_SECTION_ROWS, PAGE_SIZE
from ehr_portal.web.roles import RecordReaderRequest

router = APIRouter()


@router.get("/appointments")
async def show_appointments(request: RecordReaderRequest) -> Response:
    """Show when, where and with whom, how to prepare, and what was called off."""
    params = {
        "patient": request.patient,
        "_include": "Appointment:location",
        "_count": PAGE_SIZE,
    }
    found, providers = await asyncio.gather(
        request.gateway.search_all("Appointment", params, limit=MAX_SECTION_ROWS),
        request.load_providers(),
    )
    coming, past = build_appointments(found.matches, found.included, request.language, request.now)
    return request.render(
        "appointments.html",
        **record_template_values(request, "/record", providers),
        coming=coming,
        past=past,
        is_incomplete=found.next_link is not None,
    )
