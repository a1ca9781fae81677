"""Answers of operations as Parameters resources (R4 §2.37)."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi.responses import Response

from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.negotiation import fhir_response, parse_preferences

__all__ = ["parameter", "parameters_response"]


def parameters_response(context: RequestContext, *listed: dict[str, Any]) -> Response:
    """Answer with a Parameters resource."""
    prefer = parse_preferences(context.request)
    body = {"resourceType": "Parameters", "parameter": list(listed)}
    if not listed:
        del body["parameter"]
    return fhir_response(orjson.dumps(body), pretty=prefer.pretty)


def parameter(name: str, given: object) -> dict[str, Any]:
    """Return one parameter with the value element of its type."""
    if isinstance(given, bool):
        return {"name": name, "valueBoolean": given}
    if isinstance(given, int):
        return {"name": name, "valueInteger": given}
    return {"name": name, "valueString": str(given)}
