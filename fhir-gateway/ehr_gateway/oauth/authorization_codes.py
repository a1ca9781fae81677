"""Authorization codes: used once, bound to client, redirect URI and PKCE challenge.

RFC 6749 §4.1.2 and RFC 7636.
"""

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

# RFC 6749 §4.1.2 recommends ten minutes at most. An app redeems its code at once, so a minute will
# do (chosen).
_LIFETIME_MS = 60_000


@dataclass(frozen=True)
class Grant:
    """An authorization grant: a user let a client at a redirect URI have these scopes."""

    client: str
    login: str
    redirect_uri: str
    challenge: str
    scope: str
    # All tokens that are issued from the code form one family, which is revoked as a whole.
    family: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    context: GrantContext = field(default_factory=GrantContext)


@dataclass(frozen=True)
class CodeRedemption:
    """The outcome of redeeming a code: the grant, or the token family of a replayed code."""

    grant: Grant | None
    replayed: str | None = None


def issue_code(database: Database, grant: Grant, now_ms: int) -> str:
    """Store a grant under a new code; return the code, which is valid for 60 seconds."""
    code = secrets.token_urlsafe(32)
    with database.write_transaction() as connection:
        # Expired rows are deleted here: no other job does it.
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
    """Consume a code; no grant if it was used, expired, or belongs to another client."""
    with database.write_transaction() as connection:
        # Marked as used before anything is compared: a wrong verifier consumes the code too, so
        # that nobody gets a second guess.
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
    """Return the hash under which a random token is stored.

    A plain SHA-256 will do: tokens have 256 random bits, which nobody can guess.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def _matches_challenge(verifier: str, challenge: str) -> bool:
    return 43 <= len(verifier) <= 128 and hmac.compare_digest(
        compute_challenge(verifier), challenge
    )
