"""Discovery documents of SMART and OpenID Connect (RFC 8414), the JWK set and the SMART style."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.gateway import GatewayDependency
from ehr_gateway.http.negotiation import json_response
from ehr_gateway.oauth import client_assertion
from ehr_gateway.oauth.brands import find_brand_identifier
from ehr_gateway.settings import GatewaySettings

__all__ = ["build_server_metadata", "router"]

router = APIRouter()
_GET = ["GET", "HEAD"]
_CAPABILITIES = (
    "launch-ehr", "launch-standalone", "authorize-post",
    "client-public", "client-confidential-symmetric", "client-confidential-asymmetric",
    "sso-openid-connect", "context-banner", "context-style",
    "context-ehr-patient", "context-ehr-encounter", "context-standalone-patient",
    "permission-offline", "permission-online", "permission-patient", "permission-user",
    "permission-v1", "permission-v2",
)  # fmt: skip
_SCOPES = (
    "openid", "fhirUser", "launch", "launch/patient", "launch/encounter", "offline_access",
    "online_access", "patient/*.rs", "patient/Consent.cruds", "user/*.cruds", "system/*.cruds",
    "ehr/feed.read", "ehr/introspect", "ehr/access",
)  # fmt: skip
_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post", "private_key_jwt")
# The colours of our own pages, for an app that is launched (SMART's `smart_style_url`).
_STYLE = {
    "color_background": "#f4f7f6", "color_error": "#d5281b", "color_highlight": "#0b5351",
    "color_modal_backdrop": "#212b32", "color_success": "#0b5351", "color_text": "#212b32",
    "dim_border_radius": "6px", "dim_font_size": "17px", "dim_spacing_size": "16px",
    "font_family_body": "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', arial, sans-serif",
    "font_family_heading": "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', arial, sans-serif",
}  # fmt: skip


def build_server_metadata(settings: GatewaySettings) -> dict[str, Any]:
    """Return the server metadata: SMART App Launch 2.2 §6, OpenID Connect Discovery, RFC 8414."""
    base = settings.issuer
    signing = list(client_assertion.ALGORITHMS)
    document: dict[str, Any] = {
        "issuer": base,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": settings.token_address,
        "jwks_uri": f"{base}/jwks",
        "introspection_endpoint": f"{base}/introspect",
        "revocation_endpoint": f"{base}/revoke",
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": list(_AUTH_METHODS),
        "token_endpoint_auth_signing_alg_values_supported": signing,
        "introspection_endpoint_auth_methods_supported": list(_AUTH_METHODS[1:]),
        "introspection_endpoint_auth_signing_alg_values_supported": signing,
        "revocation_endpoint_auth_methods_supported": list(_AUTH_METHODS),
        "revocation_endpoint_auth_signing_alg_values_supported": signing,
        "authorization_response_iss_parameter_supported": True,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "amr", "nonce", "fhirUser",
        ],
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "scopes_supported": list(_SCOPES),
        "ui_locales_supported": [language.tag for language in JURISDICTION.languages],
        "capabilities": list(_CAPABILITIES),
        # Where people see which apps have access, and take it away.
        "management_endpoint": f"{base}/account",
        "user_access_brand_bundle": settings.brands_address,
        "user_access_brand_identifier": find_brand_identifier(settings),
    }  # fmt: skip
    if settings.registration != "off":
        document["registration_endpoint"] = f"{base}/register"
    return document


@router.api_route("/fhir/.well-known/smart-configuration", methods=_GET)
def serve_smart_configuration(gateway: GatewayDependency) -> Response:
    """Serve SMART's discovery document."""
    return _write_cacheable(build_server_metadata(gateway.settings))


@router.api_route("/oauth/.well-known/openid-configuration", methods=_GET)
def serve_openid_configuration(gateway: GatewayDependency) -> Response:
    """Serve the same metadata as OpenID Connect's discovery document."""
    return _write_cacheable(build_server_metadata(gateway.settings))


@router.get("/oauth/jwks")
def serve_jwks(gateway: GatewayDependency) -> Response:
    """Serve the public keys that verify our tokens (RFC 7517)."""
    gateway.keys.reload_if_changed()
    return json_response(gateway.keys.public_jwks(), media_type="application/json")


@router.get("/oauth/smart-style.json")
def serve_style() -> Response:
    """Serve the SMART style: colours and sizes for launched apps."""
    return _write_cacheable(_STYLE)


def _write_cacheable(content: dict[str, Any]) -> Response:
    return json_response(
        content, media_type="application/json", headers={"Cache-Control": "public, max-age=300"}
    )
