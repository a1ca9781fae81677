"""HTTP over one connection, with time limits and a limit on their number.

uvicorn closes a connection that is idle between requests. It has no limit for one that never
finishes its headers or its body, or never reads its answer: each would hold a connection for ever.
Nor has it a limit on connections that says when to come back. And it tells an application that its
client has gone only when that asks, which a thread at work cannot.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BoundedProtocol", "close_overdue", "max_connections"]

# From the first byte of a request, or from the connection, to the end of the headers: ten times
# what a slow mobile network needs. Chosen.
HEADER_SECONDS = 10.0
# Between two pieces of a body, or of an answer that the client reads. Chosen.
STALL_SECONDS = 30.0
# From the headers to the end of the body: 32 MiB at 1 Mbit/s. Chosen.
BODY_SECONDS = 300.0
# How long the next request of a client that was just refused is left unread. Chosen: a quarter of
# what Retry-After asks for, since behind a proxy another client may come on the same connection.
_REFUSED_PAUSE_SECONDS = 0.25
# Files that are not connections: database, logs, libraries. Chosen.
_OTHER_FILES = 256
# Each takes some 20 KiB of memory. Chosen.
_MOST_CONNECTIONS = 8192
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n"
    b"connection: close\r\n\r\n"
)


def max_connections() -> int:
    """Return how many connections one process takes, by the files it may open.

    Raises the process's own limit to what the system allows it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(16, min(_MOST_CONNECTIONS, soft - _OTHER_FILES))


class BoundedProtocol(HttpToolsProtocol):
    """One connection of uvicorn's that ends when its client stands still."""

    # Set once for the process, before the first connection.
    max_connections = _MOST_CONNECTIONS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it when there are too many."""
        self.overdue_at = self.loop.time() + HEADER_SECONDS
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.write(_TOO_MANY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the threads that work on the request know that nobody waits for its answer."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            state: dict[str, Any] = cycle.scope.get("state") or {}
            if (deadline := state.get("deadline")) is not None:
                deadline.is_abandoned = True
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin a request: its headers have a time limit."""
        self.overdue_at = self.loop.time() + HEADER_SECONDS
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Go on with the body, which has another."""
        now = self.loop.time()
        self.overdue_at, self.body_ends_at = now + STALL_SECONDS, now + BODY_SECONDS
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self.overdue_at = min(self.loop.time() + STALL_SECONDS, self.body_ends_at)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Let a client that was refused for overload come again only after a pause.

        Those that ignore Retry-After would else spend the time of those who are served.
        """
        state: dict[str, Any] = self.cycle.scope.get("state") or {}
        super().on_response_complete()
        if state.get("is_overloaded") and not self.pipeline and not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_later(_REFUSED_PAUSE_SECONDS, self._read_again)

    def _read_again(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        """Note that the client does not read its answer as fast as it is sent."""
        self.overdue_at = self.loop.time() + STALL_SECONDS
        super().pause_writing()

    @property
    def waits_for_client(self) -> bool:
        """Whether the connection can go on only when its client sends or reads something."""
        if self.flow is not None and self.flow.write_paused:
            return True
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            # Between requests uvicorn's own limit holds, from the answer to the next byte.
            return self.timeout_keep_alive_task is None
        return cycle.more_body


def close_overdue(connections: set[Any], now: float) -> None:
    """Close the connections whose clients stand still."""
    for connection in list(connections):
        if (
            isinstance(connection, BoundedProtocol)
            and now > connection.overdue_at
            and connection.waits_for_client
            and connection.transport is not None
        ):
            # Not `close`, which would wait for the client to read what is left.
            connection.transport.abort()
