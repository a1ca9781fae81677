"""Backing off after failed log-ins: by name, known or not, and by the address that guesses.

Five failures under a name are free, fifty from an address; then each further one doubles the wait,
from 2 seconds to 15 minutes. A success clears the name's count; quiet does too, a day for a name
and a quarter of an hour for an address, behind which a whole hospital may be.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ehr_gateway.database import Connection, Database

_LONGEST_MS = 15 * 60_000


@dataclass(frozen=True)
class Patience:
    """How many failures are free, and after how long they are forgotten."""

    free: int
    forget_ms: int


NAME = Patience(5, 24 * 3_600_000)
ADDRESS = Patience(50, 15 * 60_000)


def admit(database: Database, name: str, address: str, now_ms: int) -> int:
    """Count an attempt as a failure before it is tried; return the seconds it has to wait first.

    0 means that it may be tried now. A hundred guesses at once are so a hundred failures. Without
    an address, as at a counter, the name alone counts.
    """
    counted = [(name, NAME), *([(_place(address), ADDRESS)] if address else [])]
    with database.write_transaction() as connection:
        wait = max(wait_ms(connection, one, now_ms, patience) for one, patience in counted)
        if not wait:
            for one, patience in counted:
                failed(connection, one, now_ms, patience)
    return -(-wait // 1000)


def settled(connection: Connection, name: str, address: str) -> None:
    """Take back what `admit` counted: the attempt succeeded.

    The address keeps its other failures: who guesses may have an account of their own.
    """
    succeeded(connection, name)
    connection.execute(
        "UPDATE login_failure SET failures = failures - 1 WHERE subject = ? AND failures > 0",
        (_key(_place(address)),),
    )


def wait_ms(connection: Connection, subject: str, now_ms: int, patience: Patience = NAME) -> int:
    """Return for how long log-ins under this name are refused; 0 when they are not."""
    row = _row(connection, subject, now_ms, patience)
    if row is None or row[0] < patience.free:
        return 0
    pause = min(1000 * 2 ** min(row[0] - patience.free + 1, 20), _LONGEST_MS)
    return int(max(0, row[1] + pause - now_ms))


def failed(connection: Connection, subject: str, now_ms: int, patience: Patience = NAME) -> None:
    """Count one failure."""
    row = _row(connection, subject, now_ms, patience)
    connection.execute(
        "INSERT INTO login_failure (subject, failures, last_ms) VALUES (?, ?, ?)"
        " ON CONFLICT (subject) DO UPDATE SET failures = excluded.failures,"
        " last_ms = excluded.last_ms",
        (_key(subject), (row[0] if row else 0) + 1, now_ms),
    )


def succeeded(connection: Connection, subject: str) -> None:
    """Forget the failures of a name."""
    connection.execute("DELETE FROM login_failure WHERE subject = ?", (_key(subject),))


def _place(address: str) -> str:
    return f"address:{address}"


def _row(
    connection: Connection, subject: str, now_ms: int, patience: Patience
) -> tuple[int, int] | None:
    found = connection.execute(
        "SELECT failures, last_ms FROM login_failure WHERE subject = ? AND last_ms > ?",
        (_key(subject), now_ms - patience.forget_ms),
    ).fetchone()
    return None if found is None else (found[0], found[1])


def _key(subject: str) -> str:
    # Typed names may be an HKID or even a password typed in the wrong field: never store them.
    return hashlib.sha256(subject.encode()).hexdigest()
