"""The patient's own record: all of it, one section, one item."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from ehr_portal.i18n import N_
from ehr_portal.pages.record_views import (
    fetch_item,
    record_template_values,
    render_record,
    render_section,
    send_attachment,
)
from ehr_portal.record.record import fetch_consents
from ehr_portal.sharing.restrictions import active_restrictions
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.roles import RecordReaderRequest

router = APIRouter()
NAVIGATION = (
    NavigationLink("patient", "/record", N_("Your record"), 10),
    NavigationLink("carer", "/record", N_("The record"), 30, lambda user: user.reads_for_patient),
)


@router.get("/record")
async def show_record(request: RecordReaderRequest) -> Response:
    """Show the whole record."""
    return await render_record(request, request.patient, "/record")


@router.get("/record/item/{resource_type}/{resource_id}")
async def show_item(request: RecordReaderRequest, resource_type: str, resource_id: str) -> Response:
    """Show one item of the record and who may see it."""
    item, providers, consents = await asyncio.gather(
        fetch_item(request, resource_type, resource_id, request.patient, "/record"),
        request.load_providers(),
        fetch_consents(request.gateway, request.patient),
    )
    reference = f"{resource_type}/{resource_id}"
    return request.render(
        "item.html",
        **record_template_values(request, "/record", providers),
        item=item,
        reference=reference,
        person=None,
        restrictions=[
            restriction
            for restriction in active_restrictions(consents)
            if restriction.record == reference
        ],
        can_restrict=request.user.may_decide,
        hold=None,
        can_hold=False,
        can_mark_wrong=False,
        can_sign=False,
    )


@router.get("/record/item/{resource_type}/{resource_id}/attachment/{index}")
async def show_attachment(
    request: RecordReaderRequest,
    resource_type: str,
    resource_id: str,
    index: Annotated[int, Path(ge=0)],
) -> Response:
    """Send one document of a record."""
    return await send_attachment(request, resource_type, resource_id, request.patient, index)


@router.get("/record/{key}")
async def show_section(
    request: RecordReaderRequest,
    key: str,
    older: Annotated[str, Query()] = "",
) -> Response:
    """Show one section."""
    return await render_section(request, request.patient, key, "/record", older)
