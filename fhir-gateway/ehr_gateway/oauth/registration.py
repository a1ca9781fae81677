"""Dynamic client registration `/oauth/register` (RFC 7591) and its management (RFC 7592).

By default a client needs an initial access token of the administrator (`ehr client invite`). It is
valid once and limits the scopes of the new client. Keys are sent inline as `jwks`: a `jwks_uri`
would make the server fetch an address that a stranger chose (SSRF), and is refused.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from ehr_fhir.errors import EhrError
from ehr_gateway.database import Connection, Database
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.http.negotiation import json_response
from ehr_gateway.http.oauth_errors import OAuthError
from ehr_gateway.journal.redo_actions import append_redo_actions, build_client_redo
from ehr_gateway.oauth import client_metadata, clients, refresh_tokens
from ehr_gateway.oauth.authorization_codes import hash_token
from ehr_gateway.oauth.json_body import read_json_object
from ehr_gateway.tokens.secret_hashes import hash_secret

__all__ = ["mint_initial_access_token", "router"]

router = APIRouter(prefix="/oauth")
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
# The scopes of open registration, where nobody vouches for a client: users' own records only.
_OPEN_REGISTRATION_SCOPES = (
    "openid fhirUser launch/patient offline_access online_access patient/*.rs"
)


@router.post("/register")
async def register(request: Request, gateway: GatewayDependency) -> Response:
    """Register a client."""
    if gateway.settings.registration == "off":
        raise OAuthError("access_denied", "Programs are registered by the administrator.", 403)
    try:
        body = await read_json_object(request)
    except EhrError as error:
        raise OAuthError("invalid_client_metadata", str(error)) from error
    token = _read_bearer_token(request)
    if not token and gateway.settings.registration == "token":
        raise OAuthError("invalid_token", "An initial access token is needed.", 401)
    return await run_in_threadpool(_register, gateway, body, token)


@router.get("/register/{client_id}")
def read_registration(request: Request, gateway: GatewayDependency, client_id: str) -> Response:
    """Return a client's registration to it."""
    row = _authorize_management(gateway, client_id, _read_bearer_token(request))
    return json_response(json.loads(row), media_type="application/json", headers=_NO_STORE)


@router.delete("/register/{client_id}")
def unregister(request: Request, gateway: GatewayDependency, client_id: str) -> Response:
    """Delete a client at its own request; its tokens are revoked."""
    _authorize_management(gateway, client_id, _read_bearer_token(request))
    delete_client(gateway, client_id)
    return Response(status_code=204, headers=_NO_STORE)


def delete_client(gateway: Gateway, client_id: str) -> None:
    """Delete a client and revoke its refresh and access tokens."""
    now = gateway.clock()
    with gateway.store.write_transaction() as connection:
        connection.execute("DELETE FROM client WHERE id = ?", (client_id,))
        refresh_tokens.end_families_of_client(connection, client_id, now)
        gateway.revocations.revoke_in(connection, "client", client_id, now)
        append_redo_actions(connection, [build_client_redo(client_id)])
    gateway.revocations.notify_processes()


def mint_initial_access_token(
    database: Database, *, scope: str, organization: str | None, now_ms: int, hours: int = 24
) -> str:
    """Return an initial access token: one client may register with it, with scopes within these."""
    token = secrets.token_urlsafe(32)
    with database.write_transaction() as connection:
        connection.execute("DELETE FROM initial_access WHERE expires_ms < ?", (now_ms,))
        connection.execute(
            "INSERT INTO initial_access (key, scope, organization, expires_ms) VALUES (?, ?, ?, ?)",
            (hash_token(token), scope, organization, now_ms + hours * 3_600_000),
        )
    return token


def _register(gateway: Gateway, body: dict[str, Any], token: str) -> Response:
    metadata = client_metadata.parse_metadata(body)
    now = gateway.clock()
    secret = secrets.token_urlsafe(32) if metadata.by_secret else None
    # Hashing is slow by design: done before the write transaction, which others wait for.
    secret_hash = hash_secret(secret) if secret else None
    # In hexadecimal, since an id that begins with `-` would be an option on a command line.
    client_id, management_token = secrets.token_hex(12), secrets.token_urlsafe(32)
    with gateway.store.write_transaction() as connection:
        allowed_scope, organization = _OPEN_REGISTRATION_SCOPES, None
        if token:
            initial_access = _consume_initial_access_token(connection, token, now)
            if initial_access is None:
                raise OAuthError("invalid_token", "The initial access token does not hold.", 401)
            allowed_scope, organization = initial_access
        client = client_metadata.build_client(metadata, client_id, allowed_scope, organization)
        response = {
            "client_id": client_id,
            "client_id_issued_at": now // 1000,
            **metadata.echo,
            "scope": client.scope,
            "registration_client_uri": f"{gateway.settings.issuer}/register/{client_id}",
        }
        if not token:
            # Nobody vouches for it: a steward looks at it before anybody logs in to it.
            client = replace(client, approval=clients.WAITING)
        clients.upsert_client(connection, client, secret_hash)
        connection.execute(
            "UPDATE client SET metadata = ?, management = ?, registered_ms = ? WHERE id = ?",
            (json.dumps(response), hash_token(management_token), now, client_id),
        )
    response["registration_access_token"] = management_token
    if secret:
        response |= {"client_secret": secret, "client_secret_expires_at": 0}
    return json_response(response, 201, media_type="application/json", headers=_NO_STORE)


def _consume_initial_access_token(
    connection: Connection, token: str, now_ms: int
) -> tuple[str, str | None] | None:
    row = connection.execute(
        "UPDATE initial_access SET used_ms = ? WHERE key = ? AND used_ms IS NULL"
        " AND expires_ms > ? RETURNING scope, organization",
        (now_ms, hash_token(token), now_ms),
    ).fetchone()
    return (row[0], row[1]) if row else None


def _authorize_management(gateway: Gateway, client_id: str, token: str) -> str:
    with gateway.store.read_transaction() as connection:
        row = connection.execute(
            "SELECT metadata FROM client WHERE id = ? AND management = ?",
            (client_id, hash_token(token)),
        ).fetchone()
    if row is None:
        # An unknown client and a wrong token get the same answer (RFC 7592 §2.1).
        raise OAuthError("invalid_token", "The registration access token does not hold.", 401)
    return str(row[0])


def _read_bearer_token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
