"""Liveness, readiness and metrics, for the operator's monitoring."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from ehr_fhir.errors import Unavailable
from ehr_gateway.readiness import Readiness

router = APIRouter()


@router.get("/healthz")
async def healthz() -> Response:
    """Answer while the process runs (liveness)."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Answer while the database answers and takes writes (readiness)."""
    readiness: Readiness = request.app.state.readiness
    state = await readiness.state()
    if state.problem is not None:
        raise Unavailable(state.problem)
    return PlainTextResponse("".join(f"{line}\n" for line in ("ready", *state.warnings)))


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Answer with the counts of requests, summed over the workers."""
    return Response(request.app.state.metrics.render(), media_type=CONTENT_TYPE_LATEST)
