"""Client authentication at the token endpoint (RFC 6749 §2.3, RFC 7523)."""

from __future__ import annotations

import base64
from urllib.parse import unquote

from fastapi import Request

from ehr_fhir.errors import Invalid
from ehr_gateway.gateway import Gateway
from ehr_gateway.http.oauth_errors import OAuthError, invalid_client
from ehr_gateway.oauth import client_assertion, clients

__all__ = ["authenticate_client"]

_SECRET_METHODS = (None, "client_secret_basic", "client_secret_post")


def authenticate_client(
    request: Request, gateway: Gateway, form: dict[str, str], *, public: bool
) -> clients.Client:
    """Return the authenticated client; raise OAuthError if the credentials are wrong.

    `public` also accepts public clients, which have none. More than one method at once is refused
    (RFC 6749 §2.3).
    """
    by_basic = request.headers.get("authorization", "")[:6].lower() == "basic "
    assertion = form.get("client_assertion", "")
    if sum(map(bool, (by_basic, assertion, form.get("client_secret")))) > 1:
        raise OAuthError("invalid_request", "A client proves itself in one way.")
    if assertion or form.get("client_assertion_type"):
        if form.get("client_assertion_type") != client_assertion.ASSERTION_TYPE:
            raise OAuthError("invalid_request", "The type of the client assertion is not offered.")
        return client_assertion.authenticate_by_assertion(
            gateway, assertion, form.get("client_id", "")
        )
    if by_basic:
        client_id, secret = _parse_basic_credentials(request)
        if form.get("client_id", client_id) != client_id:
            raise invalid_client()
    else:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    with gateway.store.read_transaction() as connection:
        client = clients.find_client_on(connection, client_id)
    if client is not None and not client.confidential and client.auth_method in (None, "none"):
        if public and not secret:
            return client
        raise invalid_client()
    # An unknown client takes as long as a wrong secret.
    is_right = clients.verify_client_secret(gateway.store, client_id, secret)
    if client is None or not is_right or client.auth_method not in _SECRET_METHODS:
        raise invalid_client()
    return client


def _parse_basic_credentials(request: Request) -> tuple[str, str]:
    header = request.headers.get("authorization", "")
    try:
        client_id, _, secret = base64.b64decode(header[6:], validate=True).decode().partition(":")
    except ValueError as error:
        raise Invalid("The Authorization header is not Basic credentials.") from error
    return unquote(client_id), unquote(secret)
