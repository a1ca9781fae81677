"""Results of several tests side by side: chosen by the clinician, as a table and as charts."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_portal.pages.record_views import fetch_head, record_template_values
from ehr_portal.record.comparison import (
    MAX_COLUMNS,
    choice_key,
    choose_trends,
    compare_trends,
)
from ehr_portal.record.record import SearchesOfOnePage, build_section
from ehr_portal.record.sections import SECTION_BY_KEY
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
_SECTIONS = ("results", "measurements")


@router.get("/patients/{patient}/compare")
async def show_comparison(
    request: ClinicianRequest,
    patient: str,
    test: Annotated[list[str] | None, Query(max_length=100)] = None,
) -> Response:
    """Show the tests to choose from, and those that were chosen side by side."""
    base = f"/patients/{patient}"
    searches = SearchesOfOnePage(request.gateway, patient)
    contents, person, providers = await asyncio.gather(
        asyncio.gather(
            *(
                build_section(searches, SECTION_BY_KEY[key], request.language, request.now)
                for key in _SECTIONS
            )
        ),
        fetch_head(searches, request, base),
        request.load_providers(),
    )
    if person is None and not any(content.size for content in contents):
        return request.render("nothing_shared.html", status=404, patient=patient)
    trends = [trend for content in contents for trend in content.trends]
    chosen = choose_trends(trends, test or ())
    return request.render(
        "compare.html",
        **record_template_values(request, base, providers),
        person=person,
        patient=patient,
        contents=contents,
        withheld_marker=person.withheld_marker if person else None,
        chosen={choice_key(trend) for trend in chosen},
        choice_key=choice_key,
        comparison=compare_trends(chosen),
        max_columns=MAX_COLUMNS,
    )
