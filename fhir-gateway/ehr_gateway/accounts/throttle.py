"""Backing off after failed log-ins: by name, known or not, and by the address that guesses.

Five failures under a name are free, fifty from an address; then each further one doubles the wait,
from 2 seconds to 15 minutes. A success clears the name's count; quiet does too, a day for a name
and a quarter of an hour for an address, behind which a whole hospital may be.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ehr_gateway.database import Connection, Database

_MAX_WAIT_MS = 15 * 60_000


@dataclass(frozen=True)
class ThrottleLimit:
    """How many failures are free, and after how long they are forgotten."""

    free_failures: int
    forget_ms: int


NAME_LIMIT = ThrottleLimit(5, 24 * 3_600_000)
ADDRESS_LIMIT = ThrottleLimit(50, 15 * 60_000)


def admit_attempt(database: Database, name: str, address: str, now_ms: int) -> int:
    """Count an attempt as a failure before it is tried; return the seconds it has to wait first.

    0 means that it may be tried now. A hundred guesses at once are so a hundred failures. Without
    an address, as at a counter, the name alone counts.
    """
    subjects = [
        (name, NAME_LIMIT),
        *([(_address_subject(address), ADDRESS_LIMIT)] if address else []),
    ]
    with database.write_transaction() as connection:
        wait = max(
            remaining_wait_ms(connection, subject, now_ms, limit) for subject, limit in subjects
        )
        if not wait:
            for subject, limit in subjects:
                record_failure(connection, subject, now_ms, limit)
    return -(-wait // 1000)


def record_success(connection: Connection, name: str, address: str) -> None:
    """Take back what `admit` counted: the attempt succeeded.

    The address keeps its other failures: who guesses may have an account of their own.
    """
    clear_failures(connection, name)
    connection.execute(
        "UPDATE login_failure SET failures = failures - 1 WHERE subject = ? AND failures > 0",
        (_hash_subject(_address_subject(address)),),
    )


def remaining_wait_ms(
    connection: Connection, subject: str, now_ms: int, limit: ThrottleLimit = NAME_LIMIT
) -> int:
    """Return for how long log-ins under this name are refused; 0 when they are not."""
    row = _recent_failures(connection, subject, now_ms, limit)
    if row is None or row[0] < limit.free_failures:
        return 0
    backoff_ms = min(1000 * 2 ** min(row[0] - limit.free_failures + 1, 20), _MAX_WAIT_MS)
    return int(max(0, row[1] + backoff_ms - now_ms))


def record_failure(
    connection: Connection, subject: str, now_ms: int, limit: ThrottleLimit = NAME_LIMIT
) -> None:
    """Count one failure."""
    row = _recent_failures(connection, subject, now_ms, limit)
    connection.execute(
        "INSERT INTO login_failure (subject, failures, last_ms) VALUES (?, ?, ?)"
        " ON CONFLICT (subject) DO UPDATE SET failures = excluded.failures,"
        " last_ms = excluded.last_ms",
        (_hash_subject(subject), (row[0] if row else 0) + 1, now_ms),
    )


def clear_failures(connection: Connection, subject: str) -> None:
    """Forget the failures of a name."""
    connection.execute("DELETE FROM login_failure WHERE subject = ?", (_hash_subject(subject),))


def _address_subject(address: str) -> str:
    return f"address:{address}"


def _recent_failures(
    connection: Connection, subject: str, now_ms: int, limit: ThrottleLimit
) -> tuple[int, int] | None:
    row = connection.execute(
        "SELECT failures, last_ms FROM login_failure WHERE subject = ? AND last_ms > ?",
        (_hash_subject(subject), now_ms - limit.forget_ms),
    ).fetchone()
    return None if row is None else (row[0], row[1])


def _hash_subject(subject: str) -> str:
    # Typed names may be an HKID or even a password typed in the wrong field: never store them.
    return hashlib.sha256(subject.encode()).hexdigest()
