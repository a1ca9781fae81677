"""What needs no token: the CapabilityStatement and its like for other tools."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ehr_fhir.errors import Unauthorized
from ehr_gateway.audit_log import recorder
from ehr_gateway.conformance.capability import capability_statement
from ehr_gateway.conformance.openapi import openapi
from ehr_gateway.gateway import TheGateway
from ehr_gateway.http.authentication import RequestContext, authenticate
from ehr_gateway.http.negotiation import json_response, preferences

router = APIRouter(prefix="/fhir")
_GET = ["GET", "HEAD"]


async def _known(request: Request) -> RequestContext | None:
    """Return who asks, where somebody says so with a good token; nobody has to."""
    if "authorization" not in request.headers:
        return None
    try:
        return await authenticate(request)
    except Unauthorized:
        return None


Known = Annotated[RequestContext | None, Depends(_known)]


@router.api_route("/metadata", methods=_GET)
def metadata(request: Request, gateway: TheGateway, known: Known) -> Response:
    """Say what the server can do."""
    prefer = preferences(request)
    if known is not None:
        audit_context = known.begin_audit("capabilities")
        known.add_audit_entry(recorder.about(audit_context=audit_context, patient=None))
    with gateway.store.read_transaction() as connection:
        added = gateway.store.registry(connection).served
    return json_response(capability_statement(gateway.settings, added), pretty=prefer.pretty)


@router.api_route("/openapi.json", methods=_GET)
def openapi_document(gateway: TheGateway) -> Response:
    """Describe the API for tools that know OpenAPI and not FHIR."""
    return Response(openapi(gateway.settings.fhir_base), media_type="application/json")
