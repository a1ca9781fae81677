"""`/oauth/introspect`: what a token stands for (RFC 7662, SMART App Launch 2.2 §7).

A program may ask about its own tokens. Asking about others' needs the scope `ehr/introspect`, which
a resource server is registered with.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_gateway.accounts import accounts
from ehr_gateway.gateway import Gateway, TheGateway
from ehr_gateway.http.body import form_fields
from ehr_gateway.http.negotiation import json_response
from ehr_gateway.http.oauth_errors import OAuthError
from ehr_gateway.oauth import refresh_tokens
from ehr_gateway.oauth.client_authentication import authenticated
from ehr_gateway.oauth.id_token import fhir_user
from ehr_gateway.oauth.revoke_endpoint import access_token

__all__ = ["router"]

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(form_fields)]
_SCOPE = "ehr/introspect"
_INACTIVE = {"active": False}


@router.post("/introspect")
def introspect(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Say whether a token is in force, and what for."""
    asker, everybody = _asker(request, gateway, form)
    token = form.get("token", "")
    if not token:
        raise OAuthError("invalid_request", "Which token is meant?")
    answer = _access(gateway, token) or _refresh(gateway, token) or _INACTIVE
    if not everybody and answer.get("client_id") != asker:
        # The same as for no token at all (§2.2).
        answer = _INACTIVE
    return json_response(
        answer, media_type="application/json", headers={"Cache-Control": "no-store"}
    )


def _asker(request: Request, gateway: Gateway, form: dict[str, str]) -> tuple[str, bool]:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found = access_token(gateway, bearer.strip())
        if found is None:
            raise OAuthError("invalid_token", "The access token does not hold.", 401)
        if found.caller.subject.role != "system":
            raise OAuthError("insufficient_scope", "A program asks, not a person.", 403)
        return found.claims["client_id"], _SCOPE in found.claims["scope"].split()
    client = authenticated(request, gateway, form, public=False)
    return client.id, _SCOPE in client.scope.split()


def _access(gateway: Gateway, token: str) -> dict[str, Any] | None:
    found = access_token(gateway, token)
    if found is None:
        return None
    names = ("scope", "client_id", "sub", "exp", "iat", "iss", "aud", "jti", "patient")
    answer = {name: found.claims[name] for name in names if name in found.claims}
    answer |= {"active": True, "token_type": "Bearer"}
    if "fhirUser" in found.claims["scope"].split():
        try:
            answer["fhirUser"] = fhir_user(
                gateway, accounts.find_account(gateway.store, found.claims["sub"])
            )
        except NotFound:
            return None
    return answer


def _refresh(gateway: Gateway, token: str) -> dict[str, Any] | None:
    grant = refresh_tokens.find(gateway.store, gateway.settings, token, gateway.clock())
    if grant is None:
        return None
    return {"active": True, "scope": grant.scope, "client_id": grant.client, "sub": grant.login}
