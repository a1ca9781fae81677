"""Refresh tokens: each good once, all of one permission a family that ends together.

A refresh token is a random word; its hash is stored. Using it gives the next one. One that comes
back after its use has been copied by somebody, and nobody can say which of the two is the thief:
the family ends, its access tokens too (RFC 9700 §4.14.2).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from ehr_gateway.accounts import sessions
from ehr_gateway.database import Connection, Database, Row
from ehr_gateway.oauth.authorization_codes import Grant, hash_token
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
    "list_families",
    "rotate_refresh_token",
    "start_family",
]  # fmt: skip

# Longer than any permission may last by the settings.
_RETENTION_MS = 400 * 86_400_000
_COLUMNS = "f.client, f.login, f.scope, f.id, f.context"


@dataclass(frozen=True)
class RefreshResult:
    """What became of a refresh token: the permission and the next token, or why there is none."""

    grant: Grant | None = None
    token: str = ""
    error: str = "invalid_grant"
    # The family that ended because a used token came back.
    ended: str | None = None


@dataclass(frozen=True)
class TokenFamily:
    """What a person allowed a program of others, while it is in force."""

    id: str
    client: str
    scope: str
    since_ms: int
    until_ms: int


def start_family(
    database: Database, grant: Grant, now_ms: int, *, has_refresh_token: bool = True
) -> str | None:
    """Write a permission down; return its first refresh token, an empty text when it has none.

    None when the session it comes from, or the family itself, was ended meanwhile: whose code
    was replayed in the moment of its use has no row yet that could be ended. One without a refresh
    token is written down as well: its access token ends with the session too.
    """
    online = "offline_access" not in grant.scope.split()
    session = grant.context.session
    with database.write_transaction() as connection:
        if session and not sessions.is_session_in_force(connection, session):
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
    """Take a refresh token and give the next one; all in one transaction, so only one of two wins.

    `scope` may ask for less than was granted; the next token still stands for all of it.
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
    """Return the permission of a refresh token that would still be taken."""
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
    """Return the client that a refresh token was given to."""
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
    """Return what an account's holder allowed programs of others, the newest first."""
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
        # Without a refresh token the access token is all there is.
        seconds = _lifetime_seconds(settings, row) if has_refresh_token else settings.token_seconds
        until = row["created_ms"] + seconds * 1000
        if until > now_ms:
            families.append(TokenFamily(row[0], row[1], row[2], row["created_ms"], until))
    return families


def end_family(connection: Connection, family: str, now_ms: int) -> None:
    """End a family: none of its refresh tokens is taken any more."""
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
    """Delete what no setting keeps in force; the log-in that adds a row clears old ones."""
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
