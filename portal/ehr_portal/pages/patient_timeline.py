"""The timeline of a patient's record over all providers, as the clinician may see it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_portal.pages.timeline import render_timeline
from ehr_portal.record.timeline import parse_filter
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()


@router.get("/patients/{patient}/timeline")
async def show_patient_timeline(
    request: ClinicianRequest,
    patient: str,
    kind: Annotated[str, Query()] = "",
    organization: Annotated[str, Query()] = "",
    year: Annotated[str, Query()] = "",
    older: Annotated[str, Query()] = "",
) -> Response:
    """Show a page of the timeline, and whether something is withheld."""
    base = f"/patients/{patient}"
    return await render_timeline(
        request,
        patient,
        base,
        f"{base}/timeline",
        parse_filter(kind, organization, year),
        older,
    )
