"""From a released table back to the data, rules and decisions that made it, for who oversees."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, NotFound
from ehr_portal.oversight.release_trace import ReleaseTrace, parse_trace
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import AuditReaderRequest

router = APIRouter()
RunId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,120}$")]


@router.get("/releases/{run_id}/trace")
async def show_trace(request: AuditReaderRequest, run_id: RunId) -> Response:
    """Show each step with its place in the log, and what cannot be shown, or not yet."""
    try:
        trace = await _fetch_trace(request, run_id)
    except (Conflict, NotFound):
        trace = None
    return request.render(
        "release_trace.html",
        run_id=run_id,
        trace=trace,
        cut_line=lambda line: line.cut(request.translate),
    )


@router.get("/releases/{run_id}/trace/proof")
async def send_proof(request: AuditReaderRequest, run_id: RunId) -> Response:
    """Send the file that a witness verifies with `ehr audit verify-trace`."""
    trace = await _fetch_trace(request, run_id)
    headers = {"Content-Disposition": f'attachment; filename="{run_id}.trace"'}
    return Response(trace.proof, media_type="application/json", headers=headers)


async def _fetch_trace(request: PortalRequest, run_id: str) -> ReleaseTrace:
    return parse_trace(await request.gateway.invoke_by_get("$research-trace", release=run_id))
