"""Batch and transaction: a Bundle of requests in one (R4 §3.1.0.11)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_gateway.body import fhir_body
from ehr_gateway.bundle_bytes import bundle as bundle_bytes
from ehr_gateway.caller import TheAsking
from ehr_gateway.interactions import bundle
from ehr_gateway.negotiation import fhir_response, preferences
from ehr_gateway.query_pairs import no_parameters
from ehr_gateway.routes.resources import audited

router = APIRouter(prefix="/fhir")
Body = Annotated[bytes, Depends(fhir_body)]


@router.post("")
def post_bundle(asking: TheAsking, body: Body) -> Response:
    """Carry out a batch or a transaction."""
    prefer = preferences(asking.request)
    no_parameters(asking.request, lenient=prefer.lenient)
    occasion = asking.occasion("transaction")
    result = bundle.bundle(asking.gateway.store, asking.access, body, audit=audited(occasion))
    base = asking.gateway.settings.fhir_base
    entries = [_entry(base, one, prefer.returns) for one in result.entries]
    return fhir_response(bundle_bytes(f"{result.type}-response", entries), pretty=prefer.pretty)
