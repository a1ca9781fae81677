"""Token revocation endpoint `/oauth/revoke` (RFC 7009)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ehr_fhir.errors import Unauthorized
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.http.body import read_form
from ehr_gateway.http.oauth_errors import OAuthError
from ehr_gateway.oauth import refresh_tokens
from ehr_gateway.oauth.client_authentication import authenticate_client
from ehr_gateway.tokens.access_tokens import VerifiedToken

__all__ = ["find_access_token", "revoke_family", "router"]

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(read_form)]


@router.post("/revoke")
def revoke(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Revoke an access token of the client, or the whole family of a refresh token.

    A token of another client and an invalid one get the same answer as success (§2.2).
    """
    client = authenticate_client(request, gateway, form, public=True)
    token = form.get("token", "")
    if not token:
        raise OAuthError("invalid_request", "Which token is to be ended?")
    family = refresh_tokens.find_family_id(gateway.store, token, client.id)
    if family is not None:
        revoke_family(gateway, family)
    elif (verified := find_access_token(gateway, token)) is not None:
        if verified.claims["client_id"] == client.id:
            gateway.revocations.revoke("token", verified.claims["jti"], gateway.clock())
    return Response(status_code=200, headers={"Cache-Control": "no-store"})


def revoke_family(gateway: Gateway, family: str) -> None:
    """Revoke a token family: its refresh tokens, and the access tokens that were issued."""
    now = gateway.clock()
    with gateway.store.write_transaction() as connection:
        refresh_tokens.end_family(connection, family, now)
        gateway.revocations.revoke_in(connection, "family", family, now)
    gateway.revocations.notify_processes()


def find_access_token(gateway: Gateway, token: str) -> VerifiedToken | None:
    """Return a verified access token; None if it is not valid."""
    try:
        return gateway.verifier.verify(token, gateway.clock())
    except Unauthorized:
        return None
