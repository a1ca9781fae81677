"""The patient's X-rays and scans: what the report says, with the pictures that the record has."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_portal.pages.record_views import record_template_values
from ehr_portal.record.imaging import IMAGING_CATEGORIES, build_examinations
from ehr_portal.record.record import MAX_SECTION_ROWS, PAGE_SIZE
from ehr_portal.web.roles import RecordReaderRequest

router = APIRouter()


@router.get("/imaging")
async def show_examinations(request: RecordReaderRequest) -> Response:
    """Show reports with their pictures, and examinations without a report."""
    of_reports = {
        "patient": request.patient,
        "category": ",".join(IMAGING_CATEGORIES),
        "_include": "DiagnosticReport:media",
        "_sort": "-date",
        "_count": PAGE_SIZE,
    }
    of_studies = {"patient": request.patient, "_sort": "-started", "_count": PAGE_SIZE}
    reports, studies, providers = await asyncio.gather(
        request.gateway.search_all("DiagnosticReport", of_reports, limit=MAX_SECTION_ROWS),
        request.gateway.search_all("ImagingStudy", of_studies, limit=MAX_SECTION_ROWS),
        request.load_providers(),
    )
    return request.render(
        "imaging.html",
        **record_template_values(request, "/record", providers),
        examinations=build_examinations(
            reports.matches, studies.matches, reports.included, request.language, request.now
        ),
        is_incomplete=reports.next_link is not None or studies.next_link is not None,
    )
