"""`/oauth/register`: programs register themselves (RFC 7591), and go again (RFC 7592).

By default one needs a token that the administrator minted (`ehr client-token`); it is good once,
and says how far the new program's scopes may go. Keys are sent inline: a `jwks_uri` would have the
server fetch an address that a stranger names, and is refused.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from ehr_fhir.errors import EhrError
from ehr_gateway.database import Connection, Database
from ehr_gateway.gateway import Gateway, TheGateway
from ehr_gateway.http.negotiation import json_response
from ehr_gateway.http.oauth_errors import OAuthError
from ehr_gateway.oauth import client_metadata, clients, refresh_tokens
from ehr_gateway.oauth.authorization_codes import key_of
from ehr_gateway.oauth.json_body import json_object
from ehr_gateway.tokens.secret_hashes import hash_secret

__all__ = ["mint", "router"]

router = APIRouter(prefix="/oauth")
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
# What a program may have that nobody vouches for: to ask a person for their own record.
_OPEN = "openid fhirUser launch/patient offline_access online_access patient/*.rs"


@router.post("/register")
async def register(request: Request, gateway: TheGateway) -> Response:
    """Register a program."""
    if gateway.settings.registration == "off":
        raise OAuthError("access_denied", "Programs are registered by the administrator.", 403)
    try:
        body = await json_object(request)
    except EhrError as error:
        raise OAuthError("invalid_client_metadata", str(error)) from error
    token = _bearer(request)
    if not token and gateway.settings.registration == "token":
        raise OAuthError("invalid_token", "An initial access token is needed.", 401)
    return await run_in_threadpool(_register, gateway, body, token)


@router.get("/register/{client_id}")
def registered(request: Request, gateway: TheGateway, client_id: str) -> Response:
    """Show a program its registration."""
    row = _managed(gateway, client_id, _bearer(request))
    return json_response(json.loads(row), media_type="application/json", headers=_NO_STORE)


@router.delete("/register/{client_id}")
def unregister(request: Request, gateway: TheGateway, client_id: str) -> Response:
    """Delete a program; its tokens end with it."""
    _managed(gateway, client_id, _bearer(request))
    delete(gateway, client_id)
    return Response(status_code=204, headers=_NO_STORE)


def delete(gateway: Gateway, client_id: str) -> None:
    """Delete a program, its refresh tokens and its access tokens."""
    now = gateway.clock()
    with gateway.store.write_transaction() as connection:
        connection.execute("DELETE FROM client WHERE id = ?", (client_id,))
        refresh_tokens.end_of_client(connection, client_id, now)
        gateway.revocations.revoke_in(connection, "client", client_id, now)
    gateway.revocations.notify_processes()


def mint(
    database: Database, *, scope: str, organization: str | None, now_ms: int, hours: int = 24
) -> str:
    """Return a token with which one program may register, with scopes within these."""
    token = secrets.token_urlsafe(32)
    with database.write_transaction() as connection:
        connection.execute("DELETE FROM initial_access WHERE expires_ms < ?", (now_ms,))
        connection.execute(
            "INSERT INTO initial_access (key, scope, organization, expires_ms) VALUES (?, ?, ?, ?)",
            (key_of(token), scope, organization, now_ms + hours * 3_600_000),
        )
    return token


def _register(gateway: Gateway, body: dict[str, Any], token: str) -> Response:
    wanted = client_metadata.checked(body)
    now = gateway.clock()
    secret = secrets.token_urlsafe(32) if wanted.by_secret else None
    # Hashing takes a while: not while others wait to write.
    hashed = hash_secret(secret) if secret else None
    # No id begins with a sign: on a command line it would be taken for an option.
    identity, management = secrets.token_hex(12), secrets.token_urlsafe(32)
    with gateway.store.write_transaction() as connection:
        limit, organization = _OPEN, None
        if token:
            found = _use(connection, token, now)
            if found is None:
                raise OAuthError("invalid_token", "The initial access token does not hold.", 401)
            limit, organization = found
        client = client_metadata.client(wanted, identity, limit, organization)
        answer = {
            "client_id": identity,
            "client_id_issued_at": now // 1000,
            **wanted.echo,
            "scope": client.scope,
            "registration_client_uri": f"{gateway.settings.oauth_issuer}/register/{identity}",
        }
        clients.put(connection, client, hashed)
        connection.execute(
            "UPDATE client SET metadata = ?, management = ?, registered_ms = ? WHERE id = ?",
            (json.dumps(answer), key_of(management), now, identity),
        )
    answer["registration_access_token"] = management
    if secret:
        answer |= {"client_secret": secret, "client_secret_expires_at": 0}
    return json_response(answer, 201, media_type="application/json", headers=_NO_STORE)


def _use(connection: Connection, token: str, now_ms: int) -> tuple[str, str | None] | None:
    row = connection.execute(
        "UPDATE initial_access SET used_ms = ? WHERE key = ? AND used_ms IS NULL"
        " AND expires_ms > ? RETURNING scope, organization",
        (now_ms, key_of(token), now_ms),
    ).fetchone()
    return (row[0], row[1]) if row else None


def _managed(gateway: Gateway, client_id: str, token: str) -> str:
    with gateway.store.read_transaction() as connection:
        row = connection.execute(
            "SELECT metadata FROM client WHERE id = ? AND management = ?",
            (client_id, key_of(token)),
        ).fetchone()
    if row is None:
        # An unknown program and a wrong token answer alike (RFC 7592 §2.1).
        raise OAuthError("invalid_token", "The registration access token does not hold.", 401)
    return str(row[0])


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
