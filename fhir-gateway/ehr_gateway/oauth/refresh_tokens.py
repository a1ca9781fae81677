"""Refresh tokens with rotation: each is used once, all of one grant form a token family.

A refresh token is random, and only its hash is stored. Using it issues the next one. A token that
is used again was copied, and nobody can tell which of the two users is the thief: the family is
revoked, with its access tokens (RFC 9700 §4.14.2).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from ehr_gateway.accounts import sessions
from ehr_gateway.database import Connection, Database, Row
from ehr_gateway.oauth.authorization_codes import Grant, hash_token
from ehr_gateway.oauth.clients import find_client_on
from ehr_gateway.oauth.grant_context import GrantContext
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.tokens.scope_grants import covers_scopes

__all__ = [
    "RefreshResult",
    "TokenFamily",
    "end_families_of_client",
    "end_families_of_login",
    "end_family",
    "find_client_id",
    "find_family_id",
    "find_grant",
    "is_family_in_force",
    "list_families",
    "rotate_refresh_token",
    "start_family",
]  # fmt: skip

# Far longer than a refresh token lives by default (`refresh_seconds`, 90 days). It bounds larger
# settings too.
_RETENTION_MS = 400 * 86_400_000
_COLUMNS = "f.client, f.login, f.scope, f.id, f.context"


@dataclass(frozen=True)
class RefreshResult:
    """The outcome of a refresh: the grant and the next token, or an OAuth error code."""

    grant: Grant | None = None
    token: str = ""
    error: str = "invalid_grant"
    # The family that is to be revoked because a used token was presented again.
    ended: str | None = None


@dataclass(frozen=True)
class TokenFamily:
    """A token family in force: what a user allowed a client."""

    id: str
    client: str
    scope: str
    since_ms: int
    until_ms: int


def start_family(
    database: Database, grant: Grant, now_ms: int, *, has_refresh_token: bool = True
) -> str | None:
    """Store a token family; return its first refresh token, or an empty text without one.

    A family without a refresh token is stored too, so that its access token ends with the session.
    Returns None if the session or the family was ended, or the app refused or closed to the
    person's role, meanwhile: a code that is replayed while it is redeemed revokes a family that has
    no row yet, so the revocation list is checked.
    """
    online = "offline_access" not in grant.scope.split()
    session = grant.context.session
    with database.write_transaction() as connection:
        if session and not sessions.is_session_in_force(connection, session):
            return None
        client = find_client_on(connection, grant.client)
        account = connection.execute(
            "SELECT role FROM account WHERE login = ?", (grant.login,)
        ).fetchone()
        if client is None or account is None or not client.may_be_used_by(account["role"]):
            return None
        ended = "SELECT 1 FROM voided WHERE kind = 'family' AND subject = ?"
        if connection.execute(ended, (grant.family,)).fetchone() is not None:
            return None
        _delete_old_rows(connection, now_ms)
        connection.execute(
            "INSERT INTO token_family (id, client, login, session, scope, context, online,"
            " created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                grant.family,
                grant.client,
                grant.login,
                session,
                grant.scope,
                grant.context.to_json(),
                int(online),
                now_ms,
            ),
        )
        return _insert_token(connection, grant.family, now_ms) if has_refresh_token else ""


def rotate_refresh_token(
    database: Database,
    settings: GatewaySettings,
    *,
    token: str,
    client: str,
    scope: str,
    now_ms: int,
) -> RefreshResult:
    """Consume a refresh token and issue the next, in one transaction: of two requests one succeeds.

    `scope` may narrow this access token; the next refresh token keeps all granted scopes (RFC 6749
    §6).
    """
    with database.write_transaction() as connection:
        row = connection.execute(
            f"SELECT {_COLUMNS}, t.used_ms, t.issued_ms, f.created_ms, f.ended_ms, f.online,"  # noqa: S608
            " f.session FROM refresh_token t JOIN token_family f ON f.id = t.family"
            " WHERE t.key = ?",
            (hash_token(token),),
        ).fetchone()
        if row is None or row["client"] != client or row["ended_ms"] is not None:
            return RefreshResult()
        if row["used_ms"] is not None:
            end_family(connection, row["id"], now_ms)
            return RefreshResult(ended=row["id"])
        if _has_expired(connection, settings, row, now_ms):
            return RefreshResult()
        if scope and not covers_scopes(row["scope"], scope):
            return RefreshResult(error="invalid_scope")
        connection.execute(
            "UPDATE refresh_token SET used_ms = ? WHERE key = ?", (now_ms, hash_token(token))
        )
        next_token = _insert_token(connection, row["id"], now_ms)
    return RefreshResult(_grant_from_row(row, scope or row["scope"]), next_token)


def find_grant(
    database: Database, settings: GatewaySettings, token: str, now_ms: int
) -> Grant | None:
    """Return the grant of a refresh token that is valid; None if it is not."""
    with database.read_transaction() as connection:
        row = connection.execute(
            f"SELECT {_COLUMNS}, t.issued_ms, f.created_ms, f.online, f.session"  # noqa: S608
            " FROM refresh_token t JOIN token_family f ON f.id = t.family"
            " WHERE t.key = ? AND t.used_ms IS NULL AND f.ended_ms IS NULL",
            (hash_token(token),),
        ).fetchone()
        if row is None or _has_expired(connection, settings, row, now_ms):
            return None
    return _grant_from_row(row, row["scope"])


def find_client_id(database: Database, token: str) -> str | None:
    """Return the client id that a refresh token was issued to."""
    with database.read_transaction() as connection:
        row = connection.execute(
            "SELECT f.client FROM refresh_token t JOIN token_family f ON f.id = t.family"
            " WHERE t.key = ?",
            (hash_token(token),),
        ).fetchone()
    return str(row[0]) if row else None


def find_family_id(database: Database, token: str, client: str) -> str | None:
    """Return the family of a client's refresh token, used or not."""
    with database.read_transaction() as connection:
        row = connection.execute(
            "SELECT f.id FROM refresh_token t JOIN token_family f ON f.id = t.family"
            " WHERE t.key = ? AND f.client = ?",
            (hash_token(token), client),
        ).fetchone()
    return str(row[0]) if row else None


def list_families(
    connection: Connection, settings: GatewaySettings, login: str, now_ms: int
) -> list[TokenFamily]:
    """Return a user's token families in force, newest first, without those of trusted clients."""
    rows = connection.execute(
        "SELECT f.id, c.name, f.scope, f.online, f.session, f.created_ms,"
        " max(t.issued_ms) AS issued_ms FROM token_family f"
        " JOIN client c ON c.id = f.client AND c.trusted = 0"
        " LEFT JOIN refresh_token t ON t.family = f.id AND t.used_ms IS NULL"
        " WHERE f.login = ? AND f.ended_ms IS NULL"
        " GROUP BY f.id, c.name, f.scope, f.online, f.session, f.created_ms"
        " ORDER BY f.created_ms DESC, f.id",
        (login,),
    ).fetchall()
    families = []
    for row in rows:
        has_refresh_token = row["issued_ms"] is not None
        if has_refresh_token and _has_expired(connection, settings, row, now_ms):
            continue
        # Without a refresh token the family lasts as long as its access token.
        seconds = _lifetime_seconds(settings, row) if has_refresh_token else settings.token_seconds
        until = row["created_ms"] + seconds * 1000
        if until > now_ms:
            families.append(TokenFamily(row[0], row[1], row[2], row["created_ms"], until))
    return families


def is_family_in_force(
    connection: Connection, settings: GatewaySettings, family: str, now_ms: int
) -> bool:
    """Say whether a token family was not ended and has a refresh token that is good."""
    row = connection.execute(
        "SELECT f.online, f.session, f.created_ms, max(t.issued_ms) AS issued_ms"
        " FROM token_family f JOIN refresh_token t ON t.family = f.id AND t.used_ms IS NULL"
        " WHERE f.id = ? AND f.ended_ms IS NULL"
        " GROUP BY f.id, f.online, f.session, f.created_ms",
        (family,),
    ).fetchone()
    return row is not None and not _has_expired(connection, settings, row, now_ms)


def end_family(connection: Connection, family: str, now_ms: int) -> None:
    """End a family: its refresh tokens are refused. Access tokens need the revocation list too."""
    connection.execute(
        "UPDATE token_family SET ended_ms = ? WHERE id = ? AND ended_ms IS NULL", (now_ms, family)
    )


def end_families_of_login(database: Database, login: str, now_ms: int) -> None:
    """End every family of an account."""
    with database.write_transaction() as connection:
        connection.execute(
            "UPDATE token_family SET ended_ms = ? WHERE login = ? AND ended_ms IS NULL",
            (now_ms, login),
        )


def end_families_of_client(connection: Connection, client: str, now_ms: int) -> None:
    """End every family of a client, inside a transaction."""
    connection.execute(
        "UPDATE token_family SET ended_ms = ? WHERE client = ? AND ended_ms IS NULL",
        (now_ms, client),
    )


def _grant_from_row(row: Row, scope: str) -> Grant:
    context = GrantContext.from_json(row["context"])
    return Grant(row["client"], row["login"], "", "", scope, row["id"], context)


def _has_expired(connection: Connection, settings: GatewaySettings, row: Row, now_ms: int) -> bool:
    if (
        row["online"]
        and row["session"]
        and not sessions.is_session_in_force(connection, row["session"])
    ):
        return True
    lifetime_seconds = _lifetime_seconds(settings, row)
    is_idle = now_ms - row["issued_ms"] >= settings.refresh_idle_seconds * 1000
    return bool(is_idle or now_ms - row["created_ms"] >= lifetime_seconds * 1000)


def _delete_old_rows(connection: Connection, now_ms: int) -> None:
    """Delete families that no setting keeps in force; no other job does it."""
    oldest = (now_ms - _RETENTION_MS,)
    connection.execute(
        "DELETE FROM refresh_token WHERE family IN"
        " (SELECT id FROM token_family WHERE created_ms < ?)",
        oldest,
    )
    connection.execute("DELETE FROM token_family WHERE created_ms < ?", oldest)


def _lifetime_seconds(settings: GatewaySettings, row: Row) -> int:
    return settings.online_seconds if row["online"] else settings.refresh_seconds


def _insert_token(connection: Connection, family: str, now_ms: int) -> str:
    token = secrets.token_urlsafe(32)
    connection.execute(
        "INSERT INTO refresh_token (key, family, issued_ms) VALUES (?, ?, ?)",
        (hash_token(token), family, now_ms),
    )
    return token
