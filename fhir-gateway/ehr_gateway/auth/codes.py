"""One-time authorization codes bound to client, address and PKCE challenge (RFC 6749, RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from ehr_gateway.database import Database

_LIFE_MS = 60_000


@dataclass(frozen=True)
class Grant:
    """What a person agreed to by logging in: this client, at this address, with these scopes."""

    client: str
    login: str
    redirect_uri: str
    challenge: str
    scope: str


def issue_code(database: Database, grant: Grant, now_ms: int) -> str:
    """Return a new code that stands for the grant for 60 seconds."""
    code = secrets.token_urlsafe(32)
    with database.writing() as connection:
        # Old rows are of no use; the log-in that makes a new one clears them.
        connection.execute("DELETE FROM auth_code WHERE issued_ms < ?", (now_ms - 60 * _LIFE_MS,))
        connection.execute(
            "INSERT INTO auth_code (code, client, login, redirect_uri, challenge, scope, issued_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                _key(code),
                grant.client,
                grant.login,
                grant.redirect_uri,
                grant.challenge,
                grant.scope,
                now_ms,
            ),
        )
    return code


def redeem(
    database: Database, code: str, client: str, redirect_uri: str, verifier: str, now_ms: int
) -> Grant | None:
    """Return the grant of a code once; None when it is used, old, or another's."""
    with database.writing() as connection:
        # Marked used before anything is compared: a wrong verifier spends the code too.
        row = connection.execute(
            "UPDATE auth_code SET used_ms = ? WHERE code = ? AND used_ms IS NULL AND issued_ms > ?"
            " RETURNING client, login, redirect_uri, challenge, scope",
            (now_ms, _key(code), now_ms - _LIFE_MS),
        ).fetchone()
    if row is None:
        return None
    grant = Grant(*row)
    bound = grant.client == client and grant.redirect_uri == redirect_uri
    return grant if bound and _proves(verifier, grant.challenge) else None


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier.

    >>> challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
    """
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _proves(verifier: str, challenge: str) -> bool:
    return 43 <= len(verifier) <= 128 and hmac.compare_digest(challenge_of(verifier), challenge)


def _key(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
