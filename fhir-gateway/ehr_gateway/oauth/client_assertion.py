"""Client authentication by signed JWT (`private_key_jwt`, RFC 7523 §3).

As SMART App Launch 2.2 narrows it: RS384 or ES384, a registered key named by `kid`, a lifetime of
five minutes at most, each assertion (`jti`) once. CDS Hooks 2.0 signs its calls alike, without a
subject, for the address of the service.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from ehr_gateway.gateway import Gateway
from ehr_gateway.http.oauth_errors import invalid_client
from ehr_gateway.oauth import clients
from ehr_gateway.oauth.authorization_codes import hash_token

__all__ = [
    "ALGORITHMS",
    "ASSERTION_TYPE",
    "authenticate_by_assertion",
    "authenticate_hook_client",
    "is_client_assertion",
]

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ("RS384", "ES384")
_MAX_LIFETIME_SECONDS = 300
# A client's clock may differ by this much (chosen).
_MAX_CLOCK_SKEW_SECONDS = 60
_MAX_JTI_LENGTH = 255


def authenticate_by_assertion(
    gateway: Gateway, assertion: str, claimed_client_id: str = ""
) -> clients.Client:
    """Return the client that signed an assertion; `named` is the client_id sent beside it."""
    client_id = _read_unverified_claim(assertion, "sub")
    if client_id is None or claimed_client_id not in ("", client_id):
        raise invalid_client()
    return _authenticate(gateway, assertion, client_id, gateway.settings.token_address)


def authenticate_hook_client(gateway: Gateway, assertion: str, address: str) -> clients.Client:
    """Return the client that signed a call of a CDS service, for the address that it called."""
    client_id = _read_unverified_claim(assertion, "iss")
    if client_id is None:
        raise invalid_client()
    return _authenticate(gateway, assertion, client_id, address)


def is_client_assertion(token: str) -> bool:
    """Say whether a bearer token says that a client signed it; our own are signed otherwise."""
    header = _read_unverified_part(token, 0)
    return header is not None and header.get("alg") in ALGORITHMS


def _authenticate(
    gateway: Gateway, assertion: str, client_id: str, audience: str
) -> clients.Client:
    with gateway.store.read_transaction() as connection:
        client = clients.find_client_on(connection, client_id)
    if client is None or client.auth_method != "private_key_jwt":
        raise invalid_client()
    claims = _verify_claims(gateway, client, assertion, audience)
    if not _record_use(gateway, client, claims):
        raise invalid_client()
    return client


def _verify_claims(
    gateway: Gateway, client: clients.Client, assertion: str, audience: str
) -> dict[str, Any]:
    now = gateway.clock() // 1000
    try:
        keys = KeySet.import_key_set(client.keys)  # type: ignore[arg-type]
        # Only registered keys count. `jku` and `jwk` headers are the signer's own and are ignored.
        token = jwt.decode(assertion, keys, algorithms=list(ALGORITHMS))
        claims = token.claims
        expires, stated = claims["exp"], claims["aud"]
        audiences = stated if isinstance(stated, list) else [stated]
        is_valid = (
            bool(token.header.get("kid"))
            and claims["iss"] == claims.get("sub", client.id) == client.id
            and audience in audiences
            and all(_is_number(claims.get(name, now)) for name in ("exp", "iat", "nbf"))
            and now < expires <= now + _MAX_LIFETIME_SECONDS + _MAX_CLOCK_SKEW_SECONDS
            and expires - claims.get("iat", expires) <= _MAX_LIFETIME_SECONDS
            and claims.get("iat", now) <= now + _MAX_CLOCK_SKEW_SECONDS
            and claims.get("nbf", now) <= now + _MAX_CLOCK_SKEW_SECONDS
            and isinstance(claims["jti"], str)
            and 0 < len(claims["jti"]) <= _MAX_JTI_LENGTH
        )
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise invalid_client() from error
    if not is_valid:
        raise invalid_client()
    return claims


def _record_use(gateway: Gateway, client: clients.Client, claims: dict[str, Any]) -> bool:
    """Store the assertion's `jti` until it expires; return False if it was used before."""
    now = gateway.clock()
    with gateway.store.write_transaction() as connection:
        connection.execute("DELETE FROM assertion WHERE expires_ms < ?", (now,))
        insertion = connection.execute(
            "INSERT INTO assertion (key, expires_ms) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (hash_token(json.dumps([client.id, claims["jti"]])), int(claims["exp"]) * 1000),
        )
        return insertion.rowcount == 1


def _read_unverified_claim(assertion: str, name: str) -> str | None:
    """Return a claim, unverified: it only selects the client whose keys verify it."""
    claims = _read_unverified_part(assertion, 1)
    value = None if claims is None else claims.get(name)
    return value if isinstance(value, str) else None


def _read_unverified_part(assertion: str, number: int) -> dict[str, Any] | None:
    """Return the header (0) or the claims (1) of a JWT; None where it is none."""
    try:
        part = assertion.split(".")[number]
        read = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, IndexError, binascii.Error):
        return None
    return read if isinstance(read, dict) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
