"""The steward's view of the notices that left, and of those that did not."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_portal.gateway.operations import parse_multi_parts
from ehr_portal.i18n import N_
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.roles import StewardRequest

router = APIRouter()
NAVIGATION = (NavigationLink("steward", "/deliveries", N_("Notices sent"), 30),)
STATE_TITLES = {
    "sent": N_("Sent"),
    "waiting": N_("Waiting"),
    "failed": N_("Not sent"),
    "no-address": N_("No address known"),
}
NOTICE_TITLES = {
    "access-code": N_("A code to approve access"),
    "access-granted": N_("Access was granted"),
    "emergency": N_("Emergency access"),
    "first-access": N_("First access of an organisation"),
    "access": N_("An access"),
    "carer": N_("A carer was added"),
    "substitute": N_("Who decides for a patient"),
    "record-moved": N_("A record moved to another patient"),
    "record-opened": N_("A closed record was opened"),
    "record-corrected": N_("A record was corrected"),
    "identity-changed": N_("Personal details were changed"),
    "correction-answered": N_("A correction was answered"),
    "breach": N_("A breach was found"),
    "choice-recorded": N_("A choice was recorded at the counter"),
    "accounts-merged": N_("Two records of one person were joined"),
    "accounts-unmerged": N_("Two records were taken apart"),
}


@router.get("/deliveries")
async def show_deliveries(request: StewardRequest) -> Response:
    """Show how many notices were sent by each channel, and those that were not delivered."""
    answer = await request.gateway.invoke_by_get("$notice-deliveries")
    return request.render(
        "deliveries.html",
        counts=parse_multi_parts(answer, "count"),
        undelivered=parse_multi_parts(answer, "delivery"),
        STATE_TITLES=STATE_TITLES,
        NOTICE_TITLES=NOTICE_TITLES,
    )
