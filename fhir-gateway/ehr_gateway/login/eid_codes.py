"""Authorization codes of the eID simulator: one minute, used once, bound to client and PKCE."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from ehr_gateway.database import Database
from ehr_gateway.oauth.authorization_codes import compute_challenge

_LIFETIME_MS = 60_000


@dataclass(frozen=True)
class EidCode:
    """What a code was issued for."""

    client: str
    redirect_uri: str
    challenge: str
    account_id: str


def issue_eid_code(database: Database, grant: EidCode, now_ms: int) -> str:
    """Store and return a new code."""
    code = secrets.token_urlsafe(32)
    with database.write_transaction() as connection:
        connection.execute(
            "DELETE FROM eid_code WHERE issued_ms < ?", (now_ms - 60 * _LIFETIME_MS,)
        )
        connection.execute(
            "INSERT INTO eid_code (code, client, redirect_uri, challenge, account_id, issued_ms)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (_hash_code(code), grant.client, grant.redirect_uri, grant.challenge, grant.account_id,
             now_ms),
        )  # fmt: skip
    return code


def redeem_eid_code(
    database: Database, code: str, client: str, redirect_uri: str, verifier: str, now_ms: int
) -> str | None:
    """Consume a code and return the person's subject; None if it is used, expired or another's."""
    with database.write_transaction() as connection:
        row = connection.execute(
            "UPDATE eid_code SET used_ms = ? WHERE code = ? AND used_ms IS NULL AND issued_ms > ?"
            " RETURNING client, redirect_uri, challenge, account_id",
            (now_ms, _hash_code(code), now_ms - _LIFETIME_MS),
        ).fetchone()
    if row is None:
        return None
    grant = EidCode(*row)
    presented = (client, redirect_uri, compute_challenge(verifier))
    return (
        grant.account_id
        if presented == (grant.client, grant.redirect_uri, grant.challenge)
        else None
    )


def _hash_code(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
