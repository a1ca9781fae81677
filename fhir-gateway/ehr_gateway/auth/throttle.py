"""Backing off after failed log-ins: each name by itself, known or not, kept in the database.

Five failures are free; then each further one doubles the wait, from 2 seconds to 15 minutes.
A success clears the count; a quiet day does too.
"""

from __future__ import annotations

import hashlib

from ehr_gateway.database import Connection

_FREE = 5
_LONGEST_MS = 15 * 60_000
_FORGET_MS = 24 * 3_600_000


def wait_ms(connection: Connection, subject: str, now_ms: int) -> int:
    """Return for how long log-ins under this name are refused; 0 when they are not."""
    row = _row(connection, subject, now_ms)
    if row is None or row[0] < _FREE:
        return 0
    pause = min(1000 * 2 ** min(row[0] - _FREE + 1, 20), _LONGEST_MS)
    return int(max(0, row[1] + pause - now_ms))


def failed(connection: Connection, subject: str, now_ms: int) -> None:
    """Count one failure."""
    row = _row(connection, subject, now_ms)
    connection.execute(
        "INSERT INTO login_failure (subject, failures, last_ms) VALUES (?, ?, ?)"
        " ON CONFLICT (subject) DO UPDATE SET failures = excluded.failures,"
        " last_ms = excluded.last_ms",
        (_key(subject), (row[0] if row else 0) + 1, now_ms),
    )


def succeeded(connection: Connection, subject: str) -> None:
    """Forget the failures of a name."""
    connection.execute("DELETE FROM login_failure WHERE subject = ?", (_key(subject),))


def _row(connection: Connection, subject: str, now_ms: int) -> tuple[int, int] | None:
    found = connection.execute(
        "SELECT failures, last_ms FROM login_failure WHERE subject = ? AND last_ms > ?",
        (_key(subject), now_ms - _FORGET_MS),
    ).fetchone()
    return None if found is None else (found[0], found[1])


def _key(subject: str) -> str:
    # Typed names may be an HKID or even a password typed in the wrong field: never store them.
    return hashlib.sha256(subject.encode()).hexdigest()
