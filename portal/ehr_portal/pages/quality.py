"""The steward's view of the quality of the lake's tables."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from ehr_portal.i18n import N_
from ehr_portal.oversight.quality import find_report, newest_reports
from ehr_portal.record.charts import draw_bar, draw_share_line
from ehr_portal.record.record import fetch_providers
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.roles import StewardRequest

router = APIRouter()
NAVIGATION = (NavigationLink("steward", "/quality", N_("Data quality"), 10),)
# Each run of the lake writes one report a table; only the newest of each is shown. Chosen.
MAX_REPORTS = 2000


@router.get("/quality")
async def show_quality(request: StewardRequest) -> Response:
    """Show the newest quality results of each table."""
    results, providers = await asyncio.gather(
        request.gateway.search_all("MeasureReport", {"_count": "500"}, limit=MAX_REPORTS),
        fetch_providers(request.gateway),
    )
    return request.render(
        "quality.html",
        reports=newest_reports(results.matches),
        providers=providers,
        draw_bar=draw_bar,
        draw_share_line=draw_share_line,
    )


@router.get("/quality/{table}")
async def show_table_quality(
    request: StewardRequest, table: Annotated[str, Path(max_length=80)]
) -> Response:
    """Show what each check of a table demands, what it found, and how it went before."""
    results, providers = await asyncio.gather(
        request.gateway.search_all("MeasureReport", {"_count": "500"}, limit=MAX_REPORTS),
        fetch_providers(request.gateway),
    )
    return request.render(
        "quality_table.html",
        report=find_report(results.matches, table),
        providers=providers,
        draw_share_line=draw_share_line,
    )
