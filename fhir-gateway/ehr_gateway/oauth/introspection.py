"""Token introspection endpoint `/oauth/introspect` (RFC 7662, SMART App Launch 2.2 §7).

A client may introspect its own tokens. Those of others need the scope `ehr/introspect`, with which
a resource server is registered.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_gateway.accounts import accounts
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.http.body import read_form
from ehr_gateway.http.negotiation import json_response
from ehr_gateway.http.oauth_errors import OAuthError
from ehr_gateway.oauth import refresh_tokens
from ehr_gateway.oauth.client_authentication import authenticate_client
from ehr_gateway.oauth.client_standing import require_in_force
from ehr_gateway.oauth.id_token import build_fhir_user
from ehr_gateway.oauth.revoke_endpoint import find_access_token

__all__ = ["router"]

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(read_form)]
_SCOPE = "ehr/introspect"
_INACTIVE = {"active": False}


@router.post("/introspect")
def introspect(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Answer whether a token is active, with its claims."""
    asker, everybody = _authenticate_asker(request, gateway, form)
    token = form.get("token", "")
    if not token:
        raise OAuthError("invalid_request", "Which token is meant?")
    response = (
        _introspect_access_token(gateway, token)
        or _introspect_refresh_token(gateway, token)
        or _INACTIVE
    )
    if not everybody and response.get("client_id") != asker:
        # The same answer as for an invalid token (§2.2), so that it tells nothing.
        response = _INACTIVE
    return json_response(
        response, media_type="application/json", headers={"Cache-Control": "no-store"}
    )


def _authenticate_asker(
    request: Request, gateway: Gateway, form: dict[str, str]
) -> tuple[str, bool]:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        verified = find_access_token(gateway, bearer.strip())
        if verified is None or gateway.verifier.is_suspended(verified.caller, gateway.clock()):
            raise OAuthError("invalid_token", "The access token does not hold.", 401)
        if verified.caller.subject.role != "system":
            raise OAuthError("insufficient_scope", "A program asks, not a person.", 403)
        return verified.claims["client_id"], _SCOPE in verified.claims["scope"].split()
    client = authenticate_client(request, gateway, form, public=False)
    require_in_force(gateway, client)
    return client.id, _SCOPE in client.scope.split()


def _introspect_access_token(gateway: Gateway, token: str) -> dict[str, Any] | None:
    verified = find_access_token(gateway, token)
    if verified is None or gateway.verifier.is_suspended(verified.caller, gateway.clock()):
        return None
    names = ("scope", "client_id", "sub", "exp", "iat", "jti", "patient")
    response = {name: verified.claims[name] for name in names if name in verified.claims}
    settings = gateway.settings
    response |= {
        "active": True,
        "token_type": "Bearer",
        "iss": settings.issuer,
        "aud": settings.fhir_base,
    }
    if "fhirUser" in verified.claims["scope"].split():
        try:
            response["fhirUser"] = build_fhir_user(
                gateway, accounts.find_account(gateway.store, verified.claims["sub"])
            )
        except NotFound:
            return None
    return response


def _introspect_refresh_token(gateway: Gateway, token: str) -> dict[str, Any] | None:
    grant = refresh_tokens.find_grant(gateway.store, gateway.settings, token, gateway.clock())
    if grant is None:
        return None
    return {
        "active": True,
        "iss": gateway.settings.issuer,
        "scope": grant.scope,
        "client_id": grant.client,
        "sub": grant.login,
    }
