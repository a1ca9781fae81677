"""A patient's record as the clinician may see it: all that is shared, one section, one item."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from ehr_portal.gateway.operations import fetch_held_results, fetch_withheld_marker
from ehr_portal.pages.hold_result import HOLDABLE_TYPES
from ehr_portal.pages.record_views import (
    fetch_item,
    record_template_values,
    render_record,
    render_section,
    send_attachment,
)
from ehr_portal.record.record import fetch_providers
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()


@router.get("/patients/{patient}")
async def show_record(request: ClinicianRequest, patient: str) -> Response:
    """Show what is shared of a patient's record."""
    withheld_marker, held_results = await asyncio.gather(
        fetch_withheld_marker(request.gateway, patient),
        fetch_held_results(request.gateway, patient),
    )
    return await render_record(
        request,
        patient,
        f"/patients/{patient}",
        withheld_marker=withheld_marker,
        held_results=held_results,
    )


@router.get("/patients/{patient}/item/{resource_type}/{resource_id}")
async def show_item(
    request: ClinicianRequest, patient: str, resource_type: str, resource_id: str
) -> Response:
    """Show one item of the record, and whether the clinician may hold it back."""
    item, providers, held_results = await asyncio.gather(
        fetch_item(request, resource_type, resource_id, patient, f"/patients/{patient}"),
        fetch_providers(request.gateway),
        fetch_held_results(request.gateway, patient),
    )
    reference = f"{resource_type}/{resource_id}"
    hold = next((held for held in held_results if held.record == reference), None)
    is_own = item.row.author == request.user.organization
    return request.render(
        "item.html",
        **record_template_values(request, f"/patients/{patient}", providers),
        item=item,
        reference=reference,
        person=item.person,
        restrictions=[],
        can_restrict=False,
        hold=hold,
        can_hold=resource_type in HOLDABLE_TYPES and is_own and hold is None,
    )


@router.get("/patients/{patient}/item/{resource_type}/{resource_id}/attachment/{index}")
async def show_attachment(
    request: ClinicianRequest,
    patient: str,
    resource_type: str,
    resource_id: str,
    index: Annotated[int, Path(ge=0)],
) -> Response:
    """Send one document of a record."""
    return await send_attachment(request, resource_type, resource_id, patient, index)


@router.get("/patients/{patient}/{key}")
async def show_section(
    request: ClinicianRequest,
    patient: str,
    key: str,
    start: Annotated[int, Query(ge=0, alias="from")] = 0,
) -> Response:
    """Show one section."""
    return await render_section(request, patient, key, f"/patients/{patient}", start)
