"""Server-sent events (WHATWG HTML §9.2): rows of a list that are sent anew when they change.

Nothing is pushed through. A stream asks the gateway again, with the reader's own token, and sends
what it may show at that moment; a record that was closed meanwhile is not in it. The only thing
that streams share is the probe of whether anything at all was written, to ask no more than needed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

from ehr_fhir.errors import EhrError, TooMany, Unauthorized
from ehr_portal.settings import LivePace

__all__ = ["LiveStreams", "stream_rows"]

# Open streams of one session and of one process. Chosen: a few windows of one person; and below the
# connections that one process takes (`BoundedProtocol`), so that pages are served beside them.
MAX_STREAMS_PER_SESSION = 3
MAX_STREAMS = 200
# What a browser waits before it opens a stream that ended again.
_RETRY_MS = 5000


class LiveStreams:
    """The open streams of one process: their number, the shared probe, and their end."""

    def __init__(self, pace: LivePace, probe: Callable[[], object] | None) -> None:
        self.pace = pace
        self.is_closing = False
        self._probe = probe
        self._counts: Counter[str] = Counter()
        self._position: object = None
        self._probed_at = float("-inf")

    @property
    def size(self) -> int:
        """Return how many streams are open."""
        return self._counts.total()

    def close(self) -> None:
        """Let every stream end at its next tick: the server is to stop."""
        self.is_closing = True

    def check_room(self, session_id: str) -> None:
        """Raise TooMany where the session or the process has no stream left to open."""
        is_full = self._counts[session_id] >= MAX_STREAMS_PER_SESSION
        if is_full or self.size >= MAX_STREAMS or self.is_closing:
            raise TooMany("There are too many open windows with live rows.")

    @contextmanager
    def occupy(self, session_id: str) -> Iterator[None]:
        """Count a stream as open."""
        self._counts[session_id] += 1
        try:
            yield
        finally:
            self._counts[session_id] -= 1
            if not self._counts[session_id]:
                del self._counts[session_id]

    async def position(self) -> object:
        """Return something that differs once anything was written; one probe serves all streams."""
        now = time.monotonic()
        if self._probe is not None and now - self._probed_at >= self.pace.tick:
            self._probed_at = now
            self._position = await asyncio.to_thread(self._probe)
        return self._position


async def stream_rows(
    streams: LiveStreams,
    session_id: str,
    is_logged_in: Callable[[], bool],
    render_rows: Callable[[], Awaitable[str]],
) -> AsyncIterator[bytes]:
    """Yield the events of one stream: `rows` with HTML when they differ, `end` after a log-out.

    Whatever the gateway refuses, or cannot answer, ends the stream: rows that nobody judged are not
    sent, and the page says that it is live no longer.
    """
    pace = streams.pace
    with streams.occupy(session_id):
        yield f"retry: {_RETRY_MS}\n\n".encode()
        opened = sent_at = time.monotonic()
        asked_at, known_position, known_rows = float("-inf"), object(), ""
        while not streams.is_closing and time.monotonic() - opened < pace.lifetime:
            if not is_logged_in():
                yield _event("end", "")
                return
            now, position = time.monotonic(), await streams.position()
            is_changed = position != known_position and now - asked_at >= pace.shortest
            if is_changed or now - asked_at >= pace.longest:
                try:
                    rows = await render_rows()
                except Unauthorized:
                    yield _event("end", "")
                    return
                except EhrError:
                    return
                asked_at, known_position = now, position
                if rows != known_rows:
                    yield _event("rows", rows)
                    known_rows, sent_at = rows, now
            if now - sent_at >= pace.heartbeat:
                yield b": still here\n\n"
                sent_at = now
            await asyncio.sleep(pace.tick)


def _event(name: str, content: str) -> bytes:
    # As JSON the content is one line, whatever line ends it has.
    return f"event: {name}\ndata: {json.dumps(content)}\n\n".encode()
