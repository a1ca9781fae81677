"""Is it alive, can it serve, how much has it served."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from ehr_fhir.errors import Unavailable
from ehr_gateway.database import DATABASE_ERRORS
from ehr_gateway.gateway import GatewayDependency

router = APIRouter()


@router.get("/healthz")
async def healthz() -> Response:
    """Say that the process runs."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
def readyz(gateway: GatewayDependency) -> Response:
    """Say whether the database answers."""
    try:
        with gateway.store.read_transaction() as connection:
            connection.execute("SELECT 1 FROM audit LIMIT 1").fetchone()
    except DATABASE_ERRORS as error:
        raise Unavailable("The database does not answer.") from error
    return PlainTextResponse("ready\n")


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Give the counts of requests."""
    return PlainTextResponse(request.app.state.metrics.render())
