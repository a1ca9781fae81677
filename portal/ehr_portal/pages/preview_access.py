"""What a hospital or clinic would see after a change of its switch, before the change is saved."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_portal.gateway.client import Resource
from ehr_portal.record.record import fetch_consents, fetch_providers
from ehr_portal.record.sections import DOMAIN_TITLES
from ehr_portal.sharing.access_previews import DomainChange, build_preview_question, parse_preview
from ehr_portal.sharing.restrictions import PROFESSION_TITLES
from ehr_portal.sharing.switches import sharing_switches, start_sharing, stop_sharing
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import DeciderRequest

router = APIRouter()


@router.get("/sharing/preview")
async def preview_switch(
    request: DeciderRequest,
    organization: Annotated[str, Query()] = "",
    profession: Annotated[str, Query()] = "doctor",
) -> Response:
    """Show what turning one organisation's switch would change, and the button that turns it."""
    providers, consents = await asyncio.gather(
        fetch_providers(request.gateway), fetch_consents(request.gateway, request.patient)
    )
    switches = {
        switch.provider.id: switch
        for switch in sharing_switches(providers.values(), consents, request.now)
    }
    profession = profession if profession in PROFESSION_TITLES else "doctor"
    switch = switches.get(organization)
    changes = None
    if switch is not None:
        turn = stop_sharing if switch.is_on else start_sharing
        writes = turn(switch.provider, consents, request.patient, request.now)
        changes = await fetch_preview(request, organization, profession, writes)
    return request.render(
        "preview_access.html",
        switch=switch,
        switches=list(switches.values()),
        profession=profession,
        changes=changes,
        DOMAIN_TITLES=DOMAIN_TITLES,
        PROFESSION_TITLES=PROFESSION_TITLES,
    )


async def fetch_preview(
    request: PortalRequest, organization: str, profession: str, consents: Iterable[Resource]
) -> list[DomainChange] | None:
    """Return what an organisation would see; None where the gateway refuses such a choice."""
    question = build_preview_question(organization, profession, consents)
    try:
        answer = await request.gateway.invoke(
            f"Patient/{request.patient}/$preview-access", question
        )
    except Invalid:
        return None
    return parse_preview(answer)
