"""One-time authorization codes bound to client, address and PKCE challenge (RFC 6749, RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from ehr_gateway.database import Database
from ehr_gateway.oauth.grant_context import GrantContext

__all__ = [
    "CodeRedemption",
    "Grant",
    "compute_challenge",
    "hash_token",
    "issue_code",
    "redeem_code",
]

_LIFETIME_MS = 60_000


@dataclass(frozen=True)
class Grant:
    """What a person agreed to by logging in: this client, at this address, with these scopes."""

    client: str
    login: str
    redirect_uri: str
    challenge: str
    scope: str
    # What is issued from the code is one family, which can be ended as a whole.
    family: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    context: GrantContext = field(default_factory=GrantContext)


@dataclass(frozen=True)
class CodeRedemption:
    """What became of a code: the grant, or the family of one that had been used before."""

    grant: Grant | None
    replayed: str | None = None


def issue_code(database: Database, grant: Grant, now_ms: int) -> str:
    """Return a new code that stands for the grant for 60 seconds."""
    code = secrets.token_urlsafe(32)
    with database.write_transaction() as connection:
        # Old rows are of no use; the log-in that makes a new one clears them.
        connection.execute(
            "DELETE FROM auth_code WHERE issued_ms < ?", (now_ms - 60 * _LIFETIME_MS,)
        )
        connection.execute(
            "INSERT INTO auth_code (code, client, login, redirect_uri, challenge, scope, family,"
            " context, issued_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                hash_token(code),
                grant.client,
                grant.login,
                grant.redirect_uri,
                grant.challenge,
                grant.scope,
                grant.family,
                grant.context.to_json(),
                now_ms,
            ),
        )
    return code


def redeem_code(
    database: Database, code: str, client: str, redirect_uri: str, verifier: str, now_ms: int
) -> CodeRedemption:
    """Return the grant of a code once; no grant when it is used, old, or another's."""
    with database.write_transaction() as connection:
        # Marked used before anything is compared: a wrong verifier spends the code too.
        row = connection.execute(
            "UPDATE auth_code SET used_ms = ? WHERE code = ? AND used_ms IS NULL AND issued_ms > ?"
            " RETURNING client, login, redirect_uri, challenge, scope, family, context",
            (now_ms, hash_token(code), now_ms - _LIFETIME_MS),
        ).fetchone()
        if row is None:
            used = connection.execute(
                "SELECT family FROM auth_code WHERE code = ? AND used_ms IS NOT NULL",
                (hash_token(code),),
            ).fetchone()
            return CodeRedemption(None, used[0] if used else None)
    grant = Grant(
        row["client"],
        row["login"],
        row["redirect_uri"],
        row["challenge"],
        row["scope"],
        row["family"],
        GrantContext.from_json(row["context"]),
    )
    bound = grant.client == client and grant.redirect_uri == redirect_uri
    return CodeRedemption(
        grant if bound and _matches_challenge(verifier, grant.challenge) else None
    )


def compute_challenge(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier.

    >>> compute_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
    """
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def hash_token(secret: str) -> str:
    """Return the hash under which a random secret is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _matches_challenge(verifier: str, challenge: str) -> bool:
    return 43 <= len(verifier) <= 128 and hmac.compare_digest(
        compute_challenge(verifier), challenge
    )
