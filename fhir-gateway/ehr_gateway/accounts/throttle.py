"""Throttle of log-in attempts: exponential backoff by name, known or not, and by network address.

Five failures under a name are free, fifty from an address. Then each further failure doubles the
wait, from 2 seconds to 15 minutes. A success clears the failures of the name. Without new ones they
are forgotten after a day for a name, after a quarter of an hour for an address, behind which a
whole hospital may be. The numbers are chosen, not measured.

Why our own: the counts are in the database, so that they hold for every process and machine that
serves it. The library `limits` would need Redis for that.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ehr_gateway.database import Connection, Database

_MAX_WAIT_MS = 15 * 60_000


@dataclass(frozen=True)
class ThrottleLimit:
    """How many failures have no consequence, and after how long failures are forgotten."""

    free_failures: int
    forget_ms: int


@dataclass(frozen=True)
class _Failures:
    count: int
    last_ms: int


# What stands before the colon of a throttled log-in name: the factors that are counted.
FACTORS = ("password", "code")
NAME_LIMIT = ThrottleLimit(5, 24 * 3_600_000)
ADDRESS_LIMIT = ThrottleLimit(50, 15 * 60_000)


def admit_attempt(database: Database, name: str, address: str, now_ms: int) -> int:
    """Count an attempt as a failure in advance; return the seconds to wait, 0 to go ahead.

    Counting first makes a hundred concurrent guesses a hundred failures. Call `record_success` if
    the attempt succeeds. Without an address, as at a counter, the name alone counts.
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
    """Take back the failure that `admit_attempt` counted, and clear those of the name.

    The address keeps its other failures: an attacker may have an account of their own.
    """
    clear_failures(connection, name)
    connection.execute(
        "UPDATE login_failure SET failures = failures - 1 WHERE subject = ? AND failures > 0",
        (_hash_subject(_address_subject(address)),),
    )


def remaining_wait_ms(
    connection: Connection, subject: str, now_ms: int, limit: ThrottleLimit = NAME_LIMIT
) -> int:
    """Return for how many milliseconds attempts under this name are refused; 0 if they are not."""
    recent = _find_recent_failures(connection, subject, now_ms, limit)
    if recent.count < limit.free_failures:
        return 0
    # The exponent is bounded: 2 ** 20 s is beyond the longest wait already.
    backoff_ms = min(1000 * 2 ** min(recent.count - limit.free_failures + 1, 20), _MAX_WAIT_MS)
    return int(max(0, recent.last_ms + backoff_ms - now_ms))


def record_failure(
    connection: Connection, subject: str, now_ms: int, limit: ThrottleLimit = NAME_LIMIT
) -> None:
    """Count one failure of a name or address."""
    recent = _find_recent_failures(connection, subject, now_ms, limit)
    connection.execute(
        "INSERT INTO login_failure (subject, failures, last_ms) VALUES (?, ?, ?)"
        " ON CONFLICT (subject) DO UPDATE SET failures = excluded.failures,"
        " last_ms = excluded.last_ms",
        (_hash_subject(subject), recent.count + 1, now_ms),
    )


def clear_failures(connection: Connection, subject: str) -> None:
    """Delete the failures of a name."""
    connection.execute("DELETE FROM login_failure WHERE subject = ?", (_hash_subject(subject),))


def _address_subject(address: str) -> str:
    return f"address:{address}"


def _find_recent_failures(
    connection: Connection, subject: str, now_ms: int, limit: ThrottleLimit
) -> _Failures:
    row = connection.execute(
        "SELECT failures, last_ms FROM login_failure WHERE subject = ? AND last_ms > ?",
        (_hash_subject(subject), now_ms - limit.forget_ms),
    ).fetchone()
    return _Failures(row[0], row[1]) if row else _Failures(0, 0)


def _hash_subject(subject: str) -> str:
    # A typed name may be an identity number, or a password in the wrong field: stored as a hash.
    return hashlib.sha256(subject.encode()).hexdigest()
