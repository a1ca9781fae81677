"""The steward's pages: the quality of the lake's tables, and the audit log beside them."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_portal.oversight.quality import reports
from ehr_portal.pages import audit_log
from ehr_portal.record.trends import bar
from ehr_portal.web.request import StewardPage

router = APIRouter()
router.include_router(audit_log.router)


@router.get("/quality")
async def quality(page: StewardPage) -> Response:
    """Show the newest quality results of each table."""
    found = await page.gateway.search_all("MeasureReport", {"_count": "500"}, limit=2000)
    return page.render("quality.html", reports=reports(found.matches), bar=bar)
