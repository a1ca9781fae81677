"""The patient's care plans: goals, activities, and who is responsible."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_portal.pages.record_views import record_template_values
from ehr_portal.record.care_plans import build_care_plans
from ehr_portal.record.record import MAX_SECTION_ROWS, PAGE_SIZE
from ehr_portal.web.roles import RecordReaderRequest

router = APIRouter()


@router.get("/care-plan")
async def show_care_plans(request: RecordReaderRequest) -> Response:
    """Show the plans, those that hold now first."""
    of_plans = {
        "patient": request.patient,
        "_include": ["CarePlan:care-team", "CarePlan:condition"],
        "_count": PAGE_SIZE,
    }
    of_goals = {"patient": request.patient, "_count": PAGE_SIZE}
    plans, goals, providers = await asyncio.gather(
        request.gateway.search_all("CarePlan", of_plans, limit=MAX_SECTION_ROWS),
        request.gateway.search_all("Goal", of_goals, limit=MAX_SECTION_ROWS),
        request.load_providers(),
    )
    built, other_goals = build_care_plans(
        plans.matches, goals.matches, plans.included, request.language, request.now
    )
    return request.render(
        "care_plan.html",
        **record_template_values(request, "/record", providers),
        plans=built,
        other_goals=other_goals,
        is_incomplete=plans.next_link is not None or goals.next_link is not None,
    )
