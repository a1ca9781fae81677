"""The results of one test over time, as drawing and table, for a period of the reader's choice.

A page's address names the newest result that the reader came from: no code of a test stands in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_fhir.compartments import patient_ids_of
from ehr_fhir.errors import NotFound
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_, day_start, local_date
from ehr_portal.pages.record_views import fetch_page_head, record_template_values
from ehr_portal.record.record import (
    MAX_SECTION_ROWS,
    PAGE_SIZE,
    add_scale_decisions,
)
from ehr_portal.record.trends import group_into_trends
from ehr_portal.record.usual_ranges import UsualRanges
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest, RecordReaderRequest

router = APIRouter()
PERIOD_TITLES = {
    "all": N_("All years"),
    "five-years": N_("Five years"),
    "year": N_("One year"),
    "quarter": N_("Three months"),
}
_PERIODS: Mapping[str, timedelta] = {
    "five-years": timedelta(days=5 * 365 + 1),
    "year": timedelta(days=365),
    "quarter": timedelta(days=92),
}
# The section that a result's page leads back to, by its category.
_SECTION_OF = {"laboratory": "results", "vital-signs": "measurements"}


@router.get("/record/trend/{observation_id}")
async def show_own_trend(
    request: RecordReaderRequest, observation_id: str, period: Annotated[str, Query()] = "all"
) -> Response:
    """Show the patient's results of one test."""
    return await _render_trend(request, request.patient, "/record", observation_id, period)


@router.get("/patients/{patient}/trend/{observation_id}")
async def show_trend(
    request: ClinicianRequest,
    patient: str,
    observation_id: str,
    period: Annotated[str, Query()] = "all",
) -> Response:
    """Show a patient's results of one test to a clinician."""
    base = f"/patients/{patient}"
    return await _render_trend(request, patient, base, observation_id, period)


async def _render_trend(
    request: PortalRequest, patient: str, base: str, observation_id: str, period: str
) -> Response:
    observation = await request.gateway.read("Observation", observation_id)
    if patient not in patient_ids_of(observation):
        raise NotFound("There is no such result.")
    period = period if period in PERIOD_TITLES else "all"
    params = {
        "patient": patient,
        **_code_param(observation),
        "_sort": "-date",
        "_count": PAGE_SIZE,
    }
    if period in _PERIODS:
        first_day = local_date(request.now - _PERIODS[period])
        params["date"] = f"ge{day_start(first_day)}"
    found, person, providers = await asyncio.gather(
        request.gateway.search_all("Observation", params, limit=MAX_SECTION_ROWS),
        fetch_page_head(request, patient, base),
        request.load_providers(),
    )
    usual = UsualRanges(person.birth_date) if person and person.birth_date else None
    usual = await add_scale_decisions(request.gateway, patient, usual, [observation])
    # The result itself is always there: the search may find none in the period, or others' codes.
    observations = {str(match["id"]): match for match in (observation, *found.matches)}
    trend = next(
        trend
        for trend in group_into_trends(observations.values(), request.language, request.now, usual)
        if any(point.id == observation_id for point in trend.points)
    )
    return request.render(
        "trend.html",
        **record_template_values(request, base, providers),
        trend=trend,
        has_older=bool(found.next_link),
        is_only_itself=not found.matches,
        period=period,
        PERIOD_TITLES=PERIOD_TITLES,
        section=_section_key(observation),
        person=person,
        path=f"{base}/trend/{observation_id}",
    )


def _code_param(observation: Resource) -> Mapping[str, str]:
    concept = observation.get("code", {})
    coding: Resource = next(iter(concept.get("coding", ())), {})
    if coding.get("code"):
        return {"code": f"{coding.get('system', '')}|{coding['code']}"}
    return {"code:text": str(concept.get("text", ""))}


def _section_key(observation: Resource) -> str:
    codes = (
        coding.get("code")
        for category in observation.get("category", ())
        for coding in category.get("coding", ())
    )
    return next((_SECTION_OF[code] for code in codes if code in _SECTION_OF), "")
