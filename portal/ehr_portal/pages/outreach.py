"""Outreach to the elderly: whom the model puts first, of those whose record the reader may see."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import NotFound, Unavailable
from ehr_portal.pages.my_patients import LIST_TITLES
from ehr_portal.pages.record_views import summarize_patient
from ehr_portal.record.model_worklist import ModelWorklist, parse_worklist
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
# The model whose list this is.
TASK = "outreach-90d"


@router.get("/outreach")
async def show_outreach(request: ClinicianRequest) -> Response:
    """Show the list as it is now; that no model scores, or that it cannot be made, is said."""
    worklist, is_awaited = await _fetch_worklist(request)
    lines = () if worklist is None else worklist.lines
    return request.render(
        "outreach.html",
        LIST_TITLES=LIST_TITLES,
        worklist=worklist,
        is_awaited=is_awaited,
        people=[(line, summarize_patient(line.patient, request.now)) for line in lines],
    )


async def _fetch_worklist(request: PortalRequest) -> tuple[ModelWorklist | None, bool]:
    """Return the list, None without one, and whether it may be there later."""
    try:
        answer = await request.gateway.invoke_by_get(
            "$model-worklist", task=TASK, language=request.language
        )
    except NotFound:
        return None, False
    except Unavailable:
        return None, True
    return parse_worklist(answer), False
