"""Worker that delivers queued notices at least once, with retries and exponential backoff.

Every process has such a thread. A delivery is claimed (leased) before it is tried, so that one
process does it. If that process ends, the claim expires and another takes over.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from ehr_gateway.database import Connection
from ehr_gateway.notices.access_notices import queue_access_notices
from ehr_gateway.notices.channels import Channel
from ehr_gateway.notices.messages import Message, build_message
from ehr_gateway.store.store import Store

__all__ = ["DeliveryWorker"]

_LOG = logging.getLogger(__name__)
_INTERVAL_SECONDS = 5.0
# One at a time, so that a claim of two minutes outlasts the slowest delivery (SMTP times out after
# 20 s at each step).
_CLAIM_SIZE = 1
_CLAIM_MS = 120_000
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 10_000, 3_600_000
_MAX_TRIES = 20


class DeliveryWorker:
    """A thread that delivers the outbox until it is stopped."""

    def __init__(
        self,
        store: Store,
        channels: Sequence[Channel],
        flush_audit: Callable[[], None],
        *,
        secret: str,
        address: str,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        # Flushes spooled audit rows, so that accesses are found in the log.
        self._flush_audit = flush_audit
        self._channels = {channel.name: channel for channel in channels}
        self._secret = secret
        self._address = address
        self._clock = clock
        self._round_lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start, or restart, the thread."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current delivery."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def deliver_due(self) -> int:
        """Deliver what is due now; return how many deliveries were tried."""
        with self._round_lock:
            self._flush_audit()
            queue_access_notices(self._store, self._clock())
            self._route()
            tried = 0
            while claimed := self._claim():
                for delivery in claimed:
                    if self._stopping.is_set():
                        # The process ends without waiting for a slow mail server. The claims
                        # expire, and another process delivers the rest.
                        return tried
                    self._deliver(*delivery)
                    tried += 1
            return tried

    def _run(self) -> None:
        while not self._stopping.wait(_INTERVAL_SECONDS):
            try:
                self.deliver_due()
            except Exception as error:
                # Without the error's text, which may contain an address.
                _LOG.warning("Notices failed with %s; tried again.", type(error).__name__)

    def _route(self) -> None:
        with self._store.read_transaction() as connection:
            unrouted = connection.execute(
                "SELECT 1 FROM notice WHERE routed = 0 LIMIT 1"
            ).fetchone()
        if unrouted is None:
            return
        with self._store.write_transaction() as connection:
            rows = connection.execute("SELECT id, made_ms FROM notice WHERE routed = 0").fetchall()
            connection.executemany(
                "INSERT INTO notice_delivery (notice, channel, state, tries, next_ms)"
                " VALUES (?, ?, 'waiting', 0, ?) ON CONFLICT DO NOTHING",
                [(row["id"], name, row["made_ms"]) for row in rows for name in self._channels],
            )
            connection.executemany(
                "UPDATE notice SET routed = 1 WHERE id = ?", [(row["id"],) for row in rows]
            )

    def _claim(self) -> list[tuple[str, str, int, Message | None]]:
        now = self._clock()
        due = (
            "SELECT notice, channel, tries FROM notice_delivery WHERE state = 'waiting'"
            " AND next_ms <= ? ORDER BY next_ms LIMIT ?"
        )
        with self._store.read_transaction() as connection:
            if not connection.execute(due, (now, 1)).fetchall():
                return []
        with self._store.write_transaction() as connection:
            rows = connection.execute(due, (now, _CLAIM_SIZE)).fetchall()
            connection.executemany(
                "UPDATE notice_delivery SET next_ms = ?, tries = tries + 1"
                " WHERE notice = ? AND channel = ?",
                [(now + _CLAIM_MS, row["notice"], row["channel"]) for row in rows],
            )
            return [
                (row["notice"], row["channel"], row["tries"] + 1, self._message(connection, row[0]))
                for row in rows
            ]

    def _message(self, connection: Connection, identity: str) -> Message | None:
        """Build the message of a notice; None if that fails, so that the others go on."""
        row = connection.execute("SELECT * FROM notice WHERE id = ?", (identity,)).fetchone()
        try:
            return build_message(connection, row, secret=self._secret, address=self._address)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            # Without the error's text, which may contain a value.
            _LOG.error("Notice %s cannot be written: %s.", identity, type(error).__name__)
            return None

    def _deliver(self, notice: str, name: str, tries: int, message: Message | None) -> None:
        channel = self._channels.get(name)
        error_name, state = None, "sent"
        if channel is None:
            state, error_name = "failed", "no-channel"
        elif message is None:
            state, error_name = "waiting" if tries < _MAX_TRIES else "failed", "not-written"
        elif channel.needs_email and not message.email:
            state = "no-address"
        else:
            try:
                channel.send(message)
            except Exception as error:
                # Whatever the error, the notice stays queued.
                error_name = type(error).__name__
                state = "waiting" if tries < _MAX_TRIES else "failed"
        now = self._clock()
        pause = min(_FIRST_PAUSE_MS * 2 ** min(tries - 1, 12), _LONGEST_PAUSE_MS)
        with self._store.write_transaction() as connection:
            connection.execute(
                "UPDATE notice_delivery SET state = ?, fault = ?, next_ms = ?, sent_ms = ?"
                " WHERE notice = ? AND channel = ?",
                (state, error_name, now + pause, now if state == "sent" else None, notice, name),
            )
