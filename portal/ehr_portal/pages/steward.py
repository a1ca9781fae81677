"""The steward's page: the quality of the lake's tables."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_portal.page import StewardPage
from ehr_portal.quality import reports
from ehr_portal.trends import bar

router = APIRouter()


@router.get("/quality")
async def quality(page: StewardPage) -> Response:
    """Show the newest quality results of each table."""
    found = await page.gateway.search_all("MeasureReport", {"_count": "500"}, limit=2000)
    return page.render("quality.html", reports=reports(found.matches), bar=bar)
