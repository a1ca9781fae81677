"""The user-access brand of the platform (SMART App Launch 2.2 §4), made from the settings.

Apps show it to people who look for where their record is. It names nobody who has one.
"""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.settings import GatewaySettings

__all__ = ["build_brands", "find_brand_identifier", "router"]

router = APIRouter()
_PROFILES = "http://hl7.org/fhir/smart-app-launch/StructureDefinition"
_EXTENSIONS = "http://hl7.org/fhir/StructureDefinition"
_TERMS = "http://terminology.hl7.org/CodeSystem"
_SETTING = "user_access_brands"


@router.api_route("/fhir/.well-known/user-access-brands.json", methods=["GET", "HEAD"])
def serve_brands(request: Request, gateway: GatewayDependency) -> Response:
    """Serve the Bundle; a client that has it already is told so (weak ETag)."""
    entries = build_brands(gateway.settings)
    digest = hashlib.sha256(orjson.dumps(entries)).hexdigest()
    headers = {"ETag": f'W/"{digest[:32]}"', "Cache-Control": "public, max-age=300"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    bundle = {
        "resourceType": "Bundle",
        "meta": {"profile": [f"{_PROFILES}/user-access-brands-bundle"]},
        "type": "collection",
        "timestamp": format_instant(_find_change_ms(gateway, digest)),
        "entry": entries,
    }
    return fhir_response(orjson.dumps(bundle), headers=headers)


def find_brand_identifier(settings: GatewaySettings) -> dict[str, str]:
    """Return the identifier of the brand: the origin of its website, without `www.`."""
    parts = urlsplit(settings.brand_website or settings.base_url)
    host = parts.netloc.removeprefix("www.")
    return {"system": "urn:ietf:rfc:3986", "value": f"{parts.scheme}://{host}"}


def build_brands(settings: GatewaySettings) -> list[dict[str, Any]]:
    """Return the entries: the Endpoint that is served, and the Organization whose brand it is."""
    endpoint: dict[str, Any] = {
        "resourceType": "Endpoint",
        "id": "fhir-r4",
        "meta": {"profile": [f"{_PROFILES}/user-access-endpoint"]},
        "extension": [{"url": f"{_EXTENSIONS}/endpoint-fhir-version", "valueCode": "4.0.1"}],
        "status": "active",
        "connectionType": {
            "system": f"{_TERMS}/endpoint-connection-type",
            "code": "hl7-fhir-rest",
        },
        "name": f"FHIR R4 endpoint of {settings.brand_name}",
        "contact": [{"system": "url", "value": settings.brand_developers or settings.base_url}],
        # R4 requires one; the profile wants this placeholder.
        "payloadType": [
            {"coding": [{"system": f"{_TERMS}/endpoint-payload-type", "code": "none"}]}
        ],
        "address": settings.fhir_base,
    }
    portal = [
        {"url": "portalName", "valueString": settings.brand_name},
        {"url": "portalUrl", "valueUrl": settings.base_url},
        {"url": "portalEndpoint", "valueReference": {"reference": "Endpoint/fhir-r4"}},
    ]
    extensions = [{"url": f"{_EXTENSIONS}/organization-portal", "extension": portal}]
    if settings.brand_logo:
        logo = [{"url": "brandLogo", "valueUrl": settings.brand_logo}]
        extensions.insert(0, {"url": f"{_EXTENSIONS}/organization-brand", "extension": logo})
    organization: dict[str, Any] = {
        "resourceType": "Organization",
        "id": "brand",
        "meta": {"profile": [f"{_PROFILES}/user-access-brand"]},
        "extension": extensions,
        "identifier": [find_brand_identifier(settings)],
        "active": True,
        "type": [{"coding": [{"system": f"{_TERMS}/organization-type", "code": "prov"}]}],
        "name": settings.brand_name,
        "telecom": [{"system": "url", "value": settings.brand_website or settings.base_url}],
        "endpoint": [{"reference": "Endpoint/fhir-r4"}],
    }
    return [
        {"fullUrl": f"{settings.fhir_base}/{one['resourceType']}/{one['id']}", "resource": one}
        for one in (organization, endpoint)
    ]


def _find_change_ms(gateway: Gateway, digest: str) -> int:
    """Return when the contents changed last: when a process first served them as they are."""
    with gateway.store.read_transaction() as connection:
        row = connection.execute("SELECT value FROM setting WHERE name = ?", (_SETTING,)).fetchone()
    known, _, since = bytes(row[0]).decode().partition(" ") if row else ("", "", "")
    if known == digest:
        return int(since)
    now = gateway.clock()
    with gateway.store.write_transaction() as connection:
        connection.execute(
            "INSERT INTO setting (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (_SETTING, f"{digest} {now}".encode()),
        )
    return now
