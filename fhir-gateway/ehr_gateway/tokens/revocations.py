"""The revocation list of access tokens, held in memory by every process.

An access token verifies by its signature alone, so a revocation has to be recorded: of one token,
of a token family, or of all tokens issued until now to an account or a client. Each process keeps
the recent ones in memory, so that a request costs no query. Eight bytes in a memory-mapped file
signal a change to the other processes of the data folder: comparing them costs no system call. A
process that dies between its commit and the signal, or one on another machine, gives no signal, so
the list is read again once a second anyway.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from pathlib import Path
from typing import Literal

from ehr_gateway.database import Connection, Database
from ehr_gateway.tokens.suspensions import SuspensionsInForce, read_suspensions_in_force

__all__ = ["RevocationKind", "RevocationList", "is_revoked_since"]

RevocationKind = Literal["token", "family", "account", "client"]
_SIGNAL_BYTES = 8
_POLL_SECONDS = 1.0
# What of a subscription names what is revoked.
_SUBSCRIPTION_COLUMNS = {"account": "login", "client": "client", "family": "family"}
# Twice the longest lifetime of an access token, a day (`token_seconds`).
_RETENTION_MS = 2 * 86_400_000


class RevocationList:
    """The revocations, as this process has read them."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._signal = _map_signal_file(folder / "voided.signal")
        self._seen_signal = b""
        self._loaded_at = 0.0
        self._last_seq = 0
        self._revoked: dict[tuple[str, str], int] = {}
        # Read with the revocations, by the same signal.
        self.suspensions = SuspensionsInForce()
        self._merge_lock = threading.Lock()

    def close(self) -> None:
        """Close the signal file; the list must not be used afterwards."""
        self._signal.close()

    def is_stale(self) -> bool:
        """Say whether there may be revocations that this process has not read."""
        return (
            self._signal[:_SIGNAL_BYTES] != self._seen_signal
            or time.monotonic() - self._loaded_at > _POLL_SECONDS
        )

    def reload(self) -> None:
        """Read new revocations; when this returns, none committed before the call is missing."""
        # Threads may do this at the same time: no lock is held while the database is asked, so
        # that a request never waits for another one's wait. Merging twice changes nothing.
        # The signal is read before the rows, so that one that arrives in between makes the next
        # request reload again.
        signal, loaded_at = self._signal[:_SIGNAL_BYTES], time.monotonic()
        with self._database.read_transaction(single_statement=True) as connection:
            rows = connection.execute(
                "SELECT seq, kind, subject, at_ms FROM voided WHERE seq > ? ORDER BY seq",
                (self._last_seq,),
            ).fetchall()
        with self._database.read_transaction(single_statement=True) as connection:
            suspensions = read_suspensions_in_force(connection)
        with self._merge_lock:
            revoked = dict(self._revoked)
            for _, kind, subject, at_ms in rows:
                revoked[kind, subject] = max(at_ms, revoked.get((kind, subject), 0))
            if rows:
                # Every token that older entries refer to has expired.
                oldest = rows[-1]["at_ms"] - _RETENTION_MS
                revoked = {key: at_ms for key, at_ms in revoked.items() if at_ms >= oldest}
                self._last_seq = max(self._last_seq, rows[-1]["seq"])
            self._revoked = revoked
            if loaded_at >= self._loaded_at:
                self._seen_signal, self._loaded_at = signal, loaded_at
                self.suspensions = suspensions

    def revoke(self, kind: RevocationKind, subject: str, now_ms: int) -> None:
        """Revoke what was issued to a subject until now, and notify every process."""
        with self._database.write_transaction() as connection:
            self.revoke_in(connection, kind, subject, now_ms)
        self.notify_processes()

    @staticmethod
    def revoke_in(connection: Connection, kind: RevocationKind, subject: str, now_ms: int) -> None:
        """Record a revocation in the caller's transaction; `notify_processes` after its commit."""
        connection.execute("DELETE FROM voided WHERE at_ms < ?", (now_ms - _RETENTION_MS,))
        connection.execute(
            "INSERT INTO voided (kind, subject, at_ms) VALUES (?, ?, ?)", (kind, subject, now_ms)
        )
        if (column := _SUBSCRIPTION_COLUMNS.get(kind)) is not None and subject:
            # A subscription outlives the token that made it, and so the entry of this list.
            connection.execute("UPDATE subscription_feed SET revision = revision + 1")
            connection.execute(
                "UPDATE subscription SET state = 'off', error = 'revoked', due_ms = NULL,"  # noqa: S608
                " revision = (SELECT MAX(revision) FROM subscription_feed)"
                f" WHERE {column} = ? AND state <> 'off'",
                (subject,),
            )

    def notify_processes(self) -> None:
        """Make every process of the data folder reload the list at its next request."""
        # Any other bytes are a signal: a counter would need a lock between processes.
        self._signal[:_SIGNAL_BYTES] = os.urandom(_SIGNAL_BYTES)

    def is_revoked(
        self, *, login: str, client: str, token: str, family: str, issued_ms: int
    ) -> bool:
        """Say whether a token was revoked; one issued in the same second is.

        A token or family is revoked for good, whenever the token was issued: another thread may
        have been signing one while the family was ended.
        """
        revoked = self._revoked
        if not revoked:
            return False
        if ("token", token) in revoked or ("family", family) in revoked:
            return True
        subjects = (("account", login), ("client", client))
        return any(revoked.get(subject, -1) >= issued_ms for subject in subjects)


def is_revoked_since(connection: Connection, *, login: str, client: str, since_ms: int) -> bool:
    """Say whether what was issued to an account or a client was revoked at or after an instant.

    For what goes on without a token; of instants before the retention of the list nobody knows.
    """
    row = connection.execute(
        "SELECT 1 FROM voided WHERE at_ms >= :since AND ((kind = 'account' AND subject = :login)"
        " OR (kind = 'client' AND subject = :client)) LIMIT 1",
        {"since": since_ms, "login": login, "client": client},
    ).fetchone()
    return row is not None


def _map_signal_file(path: Path) -> mmap.mmap:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(handle).st_size < _SIGNAL_BYTES:
            os.ftruncate(handle, _SIGNAL_BYTES)
        return mmap.mmap(handle, _SIGNAL_BYTES)
    finally:
        os.close(handle)
