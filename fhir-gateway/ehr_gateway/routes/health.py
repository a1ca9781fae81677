"""Liveness, readiness and metrics, for the operator's monitoring."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from ehr_fhir.errors import Unavailable
from ehr_gateway.database import DATABASE_ERRORS
from ehr_gateway.gateway import GatewayDependency

router = APIRouter()


@router.get("/healthz")
async def healthz() -> Response:
    """Answer while the process runs (liveness)."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
def readyz(gateway: GatewayDependency) -> Response:
    """Answer while the database answers (readiness)."""
    try:
        with gateway.store.read_transaction() as connection:
            connection.execute("SELECT 1 FROM audit LIMIT 1").fetchone()
    except DATABASE_ERRORS as error:
        raise Unavailable("The database does not answer.") from error
    return PlainTextResponse("ready\n")


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Answer with the counts of requests, summed over the workers."""
    return Response(request.app.state.metrics.render(), media_type=CONTENT_TYPE_LATEST)
