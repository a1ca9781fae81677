"""Whether a database server answers, watched by one thread of each process.

Without it every request would find out by itself that the server is away, each after a wait, and
requests inside a frozen server would wait for ever. The watch probes the server in three cases:
when a request lost a connection or got none (it is then in doubt, and requests wait a moment for
the result); several times a second while it is away (requests are refused at once meanwhile); and
when a connection has been lent for longer than most statements take. What is lent beyond its
request's deadline, or by a server that turns out silent, is cut off: its thread goes on with an
error. No lock is held over any of these waits.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import psycopg
from psycopg.pq import ConnStatus

from ehr_fhir.errors import Unavailable
from ehr_gateway.incidents import DATABASE_AWAY, Incidents

__all__ = ["AWAY", "LENT_SECONDS_OTHERWISE", "Availability"]

AWAY = "The database does not answer. Try again."
_LOG = logging.getLogger("ehr_gateway")
# While the server is away: so often is it tried again. Chosen: well below the 2 s within which
# requests shall be answered again.
_PROBE_SECONDS = 0.25
# How long a request waits while the server is in doubt. Chosen: below one second.
_DOUBT_SECONDS = 0.8
# A connection that has been lent for so long makes the watch ask whether the server is alive. The
# second is how long it may take to answer; chosen for a server under heavy load.
_LENT_SECONDS, _SILENT_SECONDS = 0.75, 2.0
# How long a connection is lent where no request's deadline ends that: for batches of a load or of a
# verification, which take seconds.
LENT_SECONDS_OTHERWISE = 600.0
# psycopg's shortest.
_CONNECT_SECONDS = 2


class Availability:
    """The watch over one database server."""

    def __init__(self, connect_string: str, incidents: Incidents) -> None:
        self._connect_string = connect_string
        self._incidents = incidents
        self._state: Literal["up", "doubtful", "away"] = "up"
        # Set whenever the server is not in doubt.
        self._known = threading.Event()
        self._known.set()
        # Wakes the watch; set when there is something to probe.
        self._wake = threading.Event()
        self._is_closed = False
        # The connections that are lent, with the times when they were and by when they must be
        # back. Without a lock: each operation of a dictionary is atomic.
        self._lent: dict[psycopg.Connection[Any], tuple[float, float]] = {}
        self._probe: psycopg.Connection[Any] | None = None
        self._on_return: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._watch, name="database watch", daemon=True)

    def start(self, on_return: Callable[[], None]) -> None:
        """Start to watch; `on_return` is called when a server that was away answers again."""
        self._on_return = on_return
        self._thread.start()

    def close(self) -> None:
        """Stop to watch."""
        self._is_closed = True
        self._wake.set()

    @property
    def is_up(self) -> bool:
        """Whether the server answered when it was last asked."""
        return self._state == "up"

    def check(self) -> None:
        """Raise Unavailable if the server is away; wait a moment while that is in doubt."""
        if self.is_up:
            return
        if self._state == "doubtful":
            self._known.wait(_DOUBT_SECONDS)
        if not self.is_up:
            raise Unavailable(AWAY)

    def doubt(self) -> None:
        """Have the server probed: a request lost its connection, or got none."""
        if self.is_up:
            self._known.clear()
            self._state = "doubtful"
        self._wake.set()

    def lend(self, raw: psycopg.Connection[Any], seconds: float) -> None:
        """Note that a connection is lent, to be cut off after some seconds."""
        now = time.monotonic()
        self._lent[raw] = (now, now + seconds)

    def take_back(self, raw: psycopg.Connection[Any]) -> bool:
        """Note that a connection is back; return whether it was not cut off meanwhile."""
        return self._lent.pop(raw, None) is not None

    def _watch(self) -> None:
        while not self._is_closed:
            self._wake.wait(_PROBE_SECONDS)
            self._wake.clear()
            try:
                self._cut_off_overdue()
                if not self.is_up or self._has_long_lent():
                    self._probe_server()
            except Exception as error:
                # The watch must not end. Without the error's text: it may quote a statement.
                _LOG.error("The watch over the database failed: %s.", type(error).__name__)
        self._forget_probe()

    def _cut_off_overdue(self) -> None:
        now = time.monotonic()
        for raw, (_, until) in list(self._lent.items()):
            if now >= until:
                self._cut_off(raw)

    def _has_long_lent(self) -> bool:
        since = time.monotonic() - _LENT_SECONDS
        return any(lent < since for lent, _ in list(self._lent.values()))

    def _cut_off(self, raw: psycopg.Connection[Any]) -> None:
        """Shut a connection's socket: whoever waits on it gets an error."""
        # Who takes it out of the dictionary owns it: it cannot have been lent anew.
        if self._lent.pop(raw, None) is None or raw.closed:
            return
        try:
            with socket.socket(fileno=raw.fileno()) as connected:
                try:
                    connected.shutdown(socket.SHUT_RDWR)
                finally:
                    # The descriptor is libpq's to close.
                    connected.detach()
        except (OSError, psycopg.Error):
            # It was lost by itself.
            return

    def _probe_server(self) -> None:
        if self._answers():
            was_away = self._state == "away"
            if was_away:
                self._on_return()
            self._state = "up"
            self._known.set()
            self._incidents.end(DATABASE_AWAY)
            return
        self._state = "away"
        self._known.set()
        self._incidents.begin(DATABASE_AWAY, "The database does not answer; it is tried again.")
        for raw in list(self._lent):
            self._cut_off(raw)

    def _answers(self) -> bool:
        """Return whether the server answers a statement in time, on a connection of the watch."""
        if self._probe is not None and not self._probe.closed:
            try:
                # A server that is silent here would be silent on a new connection, too.
                return _is_answering(self._probe, _SILENT_SECONDS) or self._forget_probe()
            except psycopg.Error:
                # Lost, as after a restart; a new one may be had.
                self._forget_probe()
        try:
            self._probe = psycopg.connect(
                self._connect_string, autocommit=True, connect_timeout=_CONNECT_SECONDS
            )
            return _is_answering(self._probe, _SILENT_SECONDS)
        except psycopg.Error:
            return False

    def _forget_probe(self) -> bool:
        if self._probe is not None:
            self._probe.close()
            self._probe = None
        return False


def _is_answering(raw: psycopg.Connection[Any], seconds: float) -> bool:
    """Return whether a statement is answered within some seconds.

    Raises psycopg.OperationalError when the connection is lost.
    """
    until = time.monotonic() + seconds
    wire = raw.pgconn
    wire.send_query(b"SELECT 1")
    waiting = select.poll()
    waiting.register(wire.socket, select.POLLIN)
    while True:
        if not waiting.poll(max(0.0, until - time.monotonic()) * 1000):
            return False
        wire.consume_input()
        while not wire.is_busy():
            if wire.status != ConnStatus.OK:
                raise psycopg.OperationalError("the connection is lost")
            if wire.get_result() is None:
                return True
