"""Tokens that were called back: refused on the next request, in every process.

An access token verifies by its signature alone, so what ends before its time is written down: one
token, a family of tokens, an account or a client, "issued until then". Each process keeps the list
of the last day in memory. That it has grown is signalled by eight bytes in a file that every
process of the data folder has mapped: looking at them costs no system call. In case a process ends
between its commit and the signal, or serves the same database from another machine, the list is
also looked at once a second.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from pathlib import Path
from typing import Literal

from ehr_gateway.database import Connection, Database

__all__ = ["RevocationKind", "RevocationList"]

RevocationKind = Literal["token", "family", "account", "client"]
_SIGNAL_BYTES = 8
_POLL_SECONDS = 1.0
# No access token lives longer than a day (`token_seconds`).
_RETENTION_MS = 2 * 86_400_000


class RevocationList:
    """What was called back, as this process knows it."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._signal = _map_signal_file(folder / "voided.signal")
        self._seen_signal = b""
        self._loaded_at = 0.0
        self._last_seq = 0
        self._revoked: dict[tuple[str, str], int] = {}
        self._reload_lock = threading.Lock()

    def close(self) -> None:
        """Let go of the file; nothing is asked after that."""
        self._signal.close()

    def is_stale(self) -> bool:
        """Say whether there may be something new."""
        return (
            self._signal[:_SIGNAL_BYTES] != self._seen_signal
            or time.monotonic() - self._loaded_at > _POLL_SECONDS
        )

    def reload(self) -> None:
        """Read what is new; when this returns, nothing committed before it is missing."""
        with self._reload_lock:
            # Before the rows: a signal that comes meanwhile makes the next request look again.
            signal, loaded_at = self._signal[:_SIGNAL_BYTES], time.monotonic()
            with self._database.read_transaction() as connection:
                rows = connection.execute(
                    "SELECT seq, kind, subject, at_ms FROM voided WHERE seq > ? ORDER BY seq",
                    (self._last_seq,),
                ).fetchall()
            for seq, kind, subject, at_ms in rows:
                self._revoked[kind, subject] = max(at_ms, self._revoked.get((kind, subject), 0))
                self._last_seq = seq
            if rows:
                # No token from before is in force any more.
                oldest = rows[-1]["at_ms"] - _RETENTION_MS
                self._revoked = {
                    key: at_ms for key, at_ms in self._revoked.items() if at_ms >= oldest
                }
            self._seen_signal, self._loaded_at = signal, loaded_at

    def revoke(self, kind: RevocationKind, subject: str, now_ms: int) -> None:
        """Call back what was issued to a subject until now."""
        with self._database.write_transaction() as connection:
            self.revoke_in(connection, kind, subject, now_ms)
        self.notify_processes()

    @staticmethod
    def revoke_in(connection: Connection, kind: RevocationKind, subject: str, now_ms: int) -> None:
        """Do so inside a transaction; `announce` when it is committed."""
        connection.execute("DELETE FROM voided WHERE at_ms < ?", (now_ms - _RETENTION_MS,))
        connection.execute(
            "INSERT INTO voided (kind, subject, at_ms) VALUES (?, ?, ?)", (kind, subject, now_ms)
        )

    def notify_processes(self) -> None:
        """Let every process look again at its next request."""
        # Any change is a signal, so that nobody has to count under a lock.
        self._signal[:_SIGNAL_BYTES] = os.urandom(_SIGNAL_BYTES)

    def is_revoked(
        self, *, login: str, client: str, token: str, family: str, issued_ms: int
    ) -> bool:
        """Say whether a token was called back. Issued in the same second counts as before.

        A family never comes back: what another thread was signing when it ended is of no use.
        """
        revoked = self._revoked
        if not revoked:
            return False
        if ("token", token) in revoked or ("family", family) in revoked:
            return True
        subjects = (("account", login), ("client", client))
        return any(revoked.get(subject, -1) >= issued_ms for subject in subjects)


def _map_signal_file(path: Path) -> mmap.mmap:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(handle).st_size < _SIGNAL_BYTES:
            os.ftruncate(handle, _SIGNAL_BYTES)
        return mmap.mmap(handle, _SIGNAL_BYTES)
    finally:
        os.close(handle)
