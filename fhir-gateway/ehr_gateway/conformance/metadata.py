"""What needs no token: the CapabilityStatement (R4 §3.1.0.10) and an OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, Unauthorized
from ehr_gateway.audit_log import recorder
from ehr_gateway.conformance.capability import build_capability_statement
from ehr_gateway.conformance.openapi import build_openapi
from ehr_gateway.conformance.terminology import build_terminology_capabilities
from ehr_gateway.gateway import Gateway, gateway_of
from ehr_gateway.http.authentication import RequestContext, authenticate
from ehr_gateway.http.negotiation import json_response, parse_preferences
from ehr_gateway.http.threads import run_in_thread
from ehr_gateway.terminology.load import list_systems

__all__ = [
    "answer_metadata",
    "answer_openapi",
    "find_optional_context",
    "read_capabilities",
    "read_terminology",
    "record_capabilities",
]

# What a client may ask for (R4 §3.1.0.10); the whole statement has all that a shorter one would.
_MODES = ("full", "normative", "terminology")


async def answer_metadata(request: Request, path_params: dict[str, str]) -> Response:
    """Answer the capabilities interaction; a client that sends a good token is on record."""
    context = await find_optional_context(request)
    return await run_in_thread(request, _capabilities, request, context)


async def answer_openapi(request: Request, path_params: dict[str, str]) -> Response:
    """Describe the API for tools that know OpenAPI and not FHIR."""
    base = gateway_of(request).settings.fhir_base
    document = await run_in_thread(request, build_openapi, base)
    return Response(document, media_type="application/json")


def read_terminology(gateway: Gateway) -> dict[str, Any]:
    """Return the TerminologyCapabilities with the code systems that are loaded now."""
    with gateway.store.read_transaction() as connection:
        loaded = [one.header for one in list_systems(connection)]
    return build_terminology_capabilities(gateway.settings, loaded)


def read_capabilities(gateway: Gateway) -> dict[str, Any]:
    """Return the CapabilityStatement with the search parameters that are served now."""
    with gateway.store.read_transaction() as connection:
        added = gateway.store.registry(connection).served
    return build_capability_statement(gateway.settings, added)


async def find_optional_context(request: Request) -> RequestContext | None:
    """Return who calls, None without a token in force, which nobody needs here."""
    if "authorization" not in request.headers:
        return None
    try:
        return await authenticate(request)
    except Unauthorized:
        return None


def record_capabilities(context: RequestContext | None) -> None:
    """Put on record that somebody with a token asked what the server can do."""
    if context is not None:
        audit_context = context.begin_audit("capabilities")
        context.add_audit_entry(
            recorder.build_event_rows(audit_context=audit_context, patient=None)
        )


def _capabilities(request: Request, context: RequestContext | None) -> Response:
    prefer, gateway = parse_preferences(request), gateway_of(request)
    record_capabilities(context)
    mode = request.query_params.get("mode", "full")
    if mode not in _MODES:
        raise Invalid(f"`mode` is one of {', '.join(_MODES)}.", expression="mode")
    content = read_terminology(gateway) if mode == "terminology" else read_capabilities(gateway)
    return json_response(content, pretty=prefer.pretty)
