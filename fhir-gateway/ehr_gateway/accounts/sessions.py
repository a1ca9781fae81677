"""Log-in sessions, kept on the server and found by the hash of an opaque cookie.

A session records who authenticated, when and how. It gives no access to records by itself.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from dataclasses import dataclass

from ehr_gateway.database import Connection, Database, Row
from ehr_gateway.settings import GatewaySettings

_COLUMNS = "s.id, s.login, s.device, s.created_ms, s.seen_ms, s.auth_ms, s.methods"
# `seen_ms` is updated at most once a minute, so that not every page of a user writes.
_SEEN_INTERVAL_MS = 60_000
# Ended and expired sessions are kept for 90 days: refresh tokens that were issued from a session
# check whether somebody ended it.
_RETENTION_MS = 90 * 86_400_000


@dataclass(frozen=True)
class LoginSession:
    """One browser in which a person is logged in."""

    id: str
    login: str
    device: str
    created_ms: int
    seen_ms: int
    auth_ms: int
    methods: tuple[str, ...]


def start_session(
    connection: Connection, login: str, device: str, methods: tuple[str, ...], now_ms: int
) -> tuple[str, LoginSession]:
    """Start a session; return the cookie's value (only its hash is stored) and the session."""
    token = secrets.token_urlsafe(32)
    session = LoginSession(uuid.uuid4().hex, login, device, now_ms, now_ms, now_ms, methods)
    connection.execute("DELETE FROM login_session WHERE seen_ms < ?", (now_ms - _RETENTION_MS,))
    connection.execute(
        "INSERT INTO login_session (id, key, login, device, created_ms, seen_ms, auth_ms, methods)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (session.id, _hash_cookie(token), login, device, now_ms, now_ms, now_ms, " ".join(methods)),
    )
    return token, session


def rotate_session(
    connection: Connection, session: LoginSession, methods: tuple[str, ...], now_ms: int
) -> tuple[str, LoginSession]:
    """Record a re-authentication; return a new cookie value and the session.

    The old value is void, so a cookie that was planted or copied before opens nothing (session
    fixation).
    """
    token = secrets.token_urlsafe(32)
    connection.execute(
        "UPDATE login_session SET key = ?, seen_ms = ?, auth_ms = ?, methods = ? WHERE id = ?",
        (_hash_cookie(token), now_ms, now_ms, " ".join(methods), session.id),
    )
    return token, LoginSession(
        session.id, session.login, session.device, session.created_ms, now_ms, now_ms, methods
    )


def find_session(
    database: Database, token: str, settings: GatewaySettings, now_ms: int
) -> LoginSession | None:
    """Return the session of a cookie, unless it ended or expired, and update when it was seen."""
    with database.read_transaction() as connection:
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM login_session s"  # noqa: S608 constant columns
            " JOIN account a ON a.login = s.login AND a.disabled = 0"
            " WHERE s.key = ? AND s.ended_ms IS NULL AND s.seen_ms > ? AND s.created_ms > ?",
            (_hash_cookie(token), *_earliest_valid_ms(settings, now_ms)),
        ).fetchone()
    if row is None:
        return None
    session = _session_from_row(row)
    if now_ms - session.seen_ms >= _SEEN_INTERVAL_MS:
        with database.write_transaction() as connection:
            connection.execute(
                "UPDATE login_session SET seen_ms = ? WHERE id = ?", (now_ms, session.id)
            )
    return session


def list_sessions(
    connection: Connection, login: str, settings: GatewaySettings, now_ms: int
) -> list[LoginSession]:
    """Return the sessions of an account that are in force, last used first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM login_session s WHERE s.login = ? AND s.ended_ms IS NULL"  # noqa: S608
        " AND s.seen_ms > ? AND s.created_ms > ? ORDER BY s.seen_ms DESC, s.id",
        (login, *_earliest_valid_ms(settings, now_ms)),
    ).fetchall()
    return [_session_from_row(row) for row in rows]


def end_session(connection: Connection, login: str, session_id: str, now_ms: int) -> bool:
    """End one session of an account; say whether there was one."""
    update = connection.execute(
        "UPDATE login_session SET ended_ms = ? WHERE id = ? AND login = ? AND ended_ms IS NULL",
        (now_ms, session_id, login),
    )
    return update.rowcount == 1


def end_sessions(
    connection: Connection,
    login: str,
    now_ms: int,
    *,
    besides: str = "",
    device: str | None = None,
) -> tuple[str, ...]:
    """End every session of an account but one, or those of a device; return the ids of them."""
    on_device, values = ("", ()) if device is None else (" AND device = ?", (device,))
    rows = connection.execute(
        "UPDATE login_session SET ended_ms = ? WHERE login = ? AND ended_ms IS NULL AND id <> ?"  # noqa: S608
        f"{on_device} RETURNING id",
        (now_ms, login, besides, *values),
    ).fetchall()
    return tuple(row[0] for row in rows)


def is_session_in_force(connection: Connection, session_id: str) -> bool:
    """Say whether a session was not ended. One that is idle counts: an app's tokens outlive it."""
    row = connection.execute(
        "SELECT 1 FROM login_session WHERE id = ? AND ended_ms IS NULL", (session_id,)
    ).fetchone()
    return row is not None


def _earliest_valid_ms(settings: GatewaySettings, now_ms: int) -> tuple[int, int]:
    return (
        now_ms - settings.login_idle_seconds * 1000,
        now_ms - settings.login_absolute_seconds * 1000,
    )


def _session_from_row(row: Row) -> LoginSession:
    return LoginSession(row[0], row[1], row[2], row[3], row[4], row[5], tuple(row[6].split()))


def _hash_cookie(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
