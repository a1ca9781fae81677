"""Parameters resources, the response of most operations."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from ehr_fhir.json_text import serialize
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.negotiation import fhir_response, parse_preferences

__all__ = ["parameter", "parameters_response"]


def parameters_response(context: RequestContext, *parameters: dict[str, Any]) -> Response:
    """Return a Parameters resource; without parameters it has no element of that name."""
    prefer = parse_preferences(context.request)
    body = {"resourceType": "Parameters", "parameter": list(parameters)}
    if not parameters:
        del body["parameter"]
    return fhir_response(serialize(body), pretty=prefer.pretty)


def parameter(name: str, content: object) -> dict[str, Any]:
    """Return one parameter with the value element of its type."""
    if isinstance(content, bool):
        return {"name": name, "valueBoolean": content}
    if isinstance(content, int):
        return {"name": name, "valueInteger": content}
    return {"name": name, "valueString": str(content)}
