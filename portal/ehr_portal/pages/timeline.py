"""The timeline of a record, for the patient; `render_timeline` for whoever else reads one."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_portal.gateway.operations import fetch_withheld_marker
from ehr_portal.i18n import local_date
from ehr_portal.pages.record_views import fetch_page_head, record_template_values
from ehr_portal.record.timeline import (
    OLDEST_YEAR,
    TimelineFilter,
    fetch_timeline,
    parse_filter,
)
from ehr_portal.record.timeline_sources import KIND_TITLES
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import RecordReaderRequest

router = APIRouter()


@router.get("/timeline")
async def show_timeline(
    request: RecordReaderRequest,
    kind: Annotated[str, Query()] = "",
    organization: Annotated[str, Query()] = "",
    year: Annotated[str, Query()] = "",
    older: Annotated[str, Query()] = "",
) -> Response:
    """Show a page of the patient's own timeline."""
    wanted = parse_filter(kind, organization, year)
    return await render_timeline(request, request.patient, "/record", "/timeline", wanted, older)


async def render_timeline(
    request: PortalRequest,
    patient: str,
    base: str,
    path: str,
    wanted: TimelineFilter,
    older: str,
) -> Response:
    """Render one page of a timeline.

    `base` is the path of the record's pages, `path` the timeline's own, `older` the handle of the
    day that the page before ended with: no date of a record stands in an address.
    """
    older_than = request.session.resolve_handle(older) if older else None
    page, person, providers = await asyncio.gather(
        fetch_timeline(
            request.gateway, patient, request.language, request.now, wanted, older_than or ""
        ),
        fetch_page_head(request, patient, base),
        request.load_providers(),
    )
    withheld_marker = person.withheld_marker if person else None
    if base != "/record" and person is None:
        # Records of the reader's own organisation are shown where the Patient is not.
        withheld_marker = await fetch_withheld_marker(request.gateway, patient)
    birth_year = int((person.birth_date if person else "")[:4] or OLDEST_YEAR)
    return request.render(
        "timeline.html",
        **record_template_values(request, base, providers),
        page=page,
        wanted=wanted,
        today=local_date(request.now).isoformat(),
        path=path,
        older=request.session.issue_handle(page.older_than) if page.older_than else "",
        is_first_page=older_than is None,
        years=range(request.now.year, birth_year - 1, -1),
        person=person,
        withheld_marker=withheld_marker,
        KIND_TITLES=KIND_TITLES,
    )
