"""Tokens that bind a WebSocket to subscriptions: for one use, within a short time."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from ehr_gateway.database import Connection

__all__ = ["Binding", "is_issued", "issue_binding", "redeem_binding"]

# Chosen: a client asks for one when it has connected, or just before.
_LIFETIME_MS = 60_000


@dataclass(frozen=True)
class Binding:
    """What a token binds to: an owner's subscriptions."""

    owner: str
    subscriptions: tuple[str, ...]


def issue_binding(
    connection: Connection, owner: str, subscriptions: Sequence[str], now_ms: int
) -> tuple[str, int]:
    """Return a new token and when it expires; only its hash is stored."""
    token, expires_ms = secrets.token_urlsafe(32), now_ms + _LIFETIME_MS
    connection.execute("DELETE FROM subscription_binding WHERE expires_ms <= ?", (now_ms,))
    connection.execute(
        "INSERT INTO subscription_binding (token, owner, subscriptions, expires_ms)"
        " VALUES (?, ?, ?, ?)",
        (_hash(token), owner, json.dumps(list(subscriptions)), expires_ms),
    )
    return token, expires_ms


def is_issued(connection: Connection, token: str) -> bool:
    """Say whether a token is one that was issued and not used."""
    row = connection.execute(
        "SELECT 1 FROM subscription_binding WHERE token = ?", (_hash(token),)
    ).fetchone()
    return row is not None


def redeem_binding(connection: Connection, token: str, now_ms: int) -> Binding | None:
    """Use a token up; None for one that is unknown, used or expired."""
    row = connection.execute(
        "SELECT owner, subscriptions, expires_ms FROM subscription_binding WHERE token = ?",
        (_hash(token),),
    ).fetchone()
    if row is None:
        return None
    connection.execute("DELETE FROM subscription_binding WHERE token = ?", (_hash(token),))
    if row["expires_ms"] <= now_ms:
        return None
    return Binding(row["owner"], tuple(json.loads(row["subscriptions"])))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
