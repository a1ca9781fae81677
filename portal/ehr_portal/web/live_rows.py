"""Server-sent events (WHATWG HTML §9.2): rows of a list that are sent anew when they change.

Nothing is pushed through. A stream asks the gateway again, with the reader's own token, and sends
what it may show at that moment; a record that was closed meanwhile is not in it. The only thing
that streams share is the probe that says about whom something was written, to ask no more than
needed: each question is an entry in the audit log.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ehr_fhir.errors import EhrError, TooMany, Unauthorized
from ehr_portal.settings import ChangeProbe, LivePace

__all__ = ["LiveStreams", "RenderedRows", "stream_rows"]

# Open streams of one session and of one process. Chosen: a few windows of one person; and below the
# connections that one process takes (`BoundedProtocol`), so that pages are served beside them.
MAX_STREAMS_PER_SESSION = 3
MAX_STREAMS = 200
# What a browser waits before it opens a stream that ended again.
_RETRY_MS = 5000


@dataclass(frozen=True)
class RenderedRows:
    """The rows as a reader may see them at one moment."""

    html: str
    # Whom the list is about: those who are closed to the reader now are among them.
    patients: frozenset[str]


@dataclass
class _Watcher:
    """What one stream was told by the probe, and whom it wants to hear of."""

    patients: frozenset[str] = field(default_factory=frozenset)
    is_due: bool = True

    def note(self, changed: frozenset[str] | None) -> None:
        if changed is None or changed & self.patients:
            self.is_due = True


class LiveStreams:
    """The open streams of one process: their number, the shared probe, and their end."""

    def __init__(self, pace: LivePace, probe: ChangeProbe | None) -> None:
        self.pace = pace
        self.is_closing = False
        self._probe = probe
        self._counts: Counter[str] = Counter()
        self._watchers: list[_Watcher] = []
        self._position = 0
        self._probed_at = float("-inf")

    @property
    def size(self) -> int:
        """Return how many streams are open."""
        return self._counts.total()

    @property
    def longest(self) -> float:
        """Return the seconds after which a stream asks the gateway in any case."""
        return self.pace.longest if self._probe else min(self.pace.unprobed, self.pace.longest)

    def close(self) -> None:
        """Let every stream end at its next tick: the server is to stop."""
        self.is_closing = True

    def check_room(self, session_id: str) -> None:
        """Raise TooMany where the session or the process has no stream left to open."""
        is_full = self._counts[session_id] >= MAX_STREAMS_PER_SESSION
        if is_full or self.size >= MAX_STREAMS or self.is_closing:
            raise TooMany("There are too many open windows with live rows.")

    @contextmanager
    def watch(self, session_id: str) -> Iterator[_Watcher]:
        """Count a stream as open, and have it told of changes."""
        watcher = _Watcher()
        self._counts[session_id] += 1
        self._watchers.append(watcher)
        try:
            yield watcher
        finally:
            self._watchers.remove(watcher)
            self._counts[session_id] -= 1
            if not self._counts[session_id]:
                del self._counts[session_id]

    async def look(self) -> None:
        """Ask the probe, if no other stream did within this tick, and tell every stream."""
        now = time.monotonic()
        if self._probe is None or now - self._probed_at < self.pace.tick:
            return
        self._probed_at = now
        position, changed = await asyncio.to_thread(self._probe, self._position)
        self._position = position
        for watcher in self._watchers:
            watcher.note(changed)


async def stream_rows(
    streams: LiveStreams,
    session_id: str,
    is_logged_in: Callable[[], bool],
    render_rows: Callable[[], Awaitable[RenderedRows]],
) -> AsyncIterator[bytes]:
    """Yield the events of one stream: `rows` with HTML when they differ, `end` after a log-out.

    Whatever the gateway refuses, or cannot answer, ends the stream: rows that nobody judged are not
    sent, and the page says that it is live no longer.
    """
    pace = streams.pace
    with streams.watch(session_id) as watcher:
        yield f"retry: {_RETRY_MS}\n\n".encode()
        opened = sent_at = time.monotonic()
        asked_at, known = float("-inf"), ""
        while not streams.is_closing and (now := time.monotonic()) - opened < pace.lifetime:
            if not is_logged_in():
                yield _event("end", "")
                return
            await streams.look()
            waited = now - asked_at
            if waited >= streams.longest or (watcher.is_due and waited >= pace.shortest):
                # Before asking: what is written meanwhile is asked about next time.
                watcher.is_due, asked_at = False, now
                try:
                    rows = await render_rows()
                except Unauthorized:
                    yield _event("end", "")
                    return
                except EhrError:
                    return
                # Who left the list may come back to it.
                watcher.patients |= rows.patients
                if rows.html != known:
                    yield _event("rows", rows.html)
                    known, sent_at = rows.html, now
            if now - sent_at >= pace.heartbeat:
                yield b": still here\n\n"
                sent_at = now
            await asyncio.sleep(pace.tick)


def _event(name: str, content: str) -> bytes:
    # As JSON the content is one line, whatever line ends it has.
    return f"event: {name}\ndata: {json.dumps(content)}\n\n".encode()
