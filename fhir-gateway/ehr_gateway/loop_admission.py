"""Admission to the event loop, for requests that it answers itself: in bursts, with a bounded wait.

The loop looks for new requests, and for clients that went away, only between its tasks. If it ran
all requests it knows of before it looked again, a burst of slow ones would hide for seconds who has
come and who has gone. So after some milliseconds of work it looks around; requests that are left
wait their turn, and one whose turn would come too late is refused at once, as for the threads
(`thread_admission`). Short requests pass without any of this: they cost a look at the clock.
"""

from __future__ import annotations

import asyncio
import time

from ehr_fhir.errors import Unavailable
from ehr_gateway.admission_queue import OVERLOADED, AdmissionQueue, current_patience

__all__ = ["LoopAdmission"]

# How long the loop works before it looks around. Chosen: some dozens of reads of 0.2 ms.
_BURST_SECONDS = 0.01
# How much of the measured pace the newest burst makes up. Chosen: bursts are few when they
# are long.
_PACE_WEIGHT = 0.3
# Until a burst was measured; what a read takes.
_FIRST_PACE_SECONDS = 0.001


class LoopAdmission:
    """The requests of one event loop that it answers itself."""

    def __init__(self) -> None:
        # When the burst of this round of the loop ends; None before its first request.
        self._burst_ends: float | None = None
        self._queue = AdmissionQueue()
        # Seconds for each request that was let in while others waited.
        self._pace = _FIRST_PACE_SECONDS
        self._let_in = 0
        self._let_in_at = 0.0

    async def take_turn(self) -> None:
        """Return when the loop may answer the request; raise Unavailable if that is too late.

        Answer it without waiting for anything in between.
        """
        now = time.monotonic()
        if self._burst_ends is None:
            self._burst_ends = now + _BURST_SECONDS
            asyncio.get_running_loop().call_soon(self._end_burst)
        if now < self._burst_ends and not self._queue:
            return
        if (self._queue.count_ahead() + 1) * self._pace > current_patience():
            raise Unavailable(OVERLOADED)
        await self._queue.wait()

    def _end_burst(self) -> None:
        """Let the next ones in: the loop has looked around since the last ones."""
        now = time.monotonic()
        if self._let_in:
            self._pace += _PACE_WEIGHT * ((now - self._let_in_at) / self._let_in - self._pace)
        self._let_in, self._let_in_at, self._burst_ends = 0, now, None
        while self._let_in * self._pace < _BURST_SECONDS and self._queue.admit_next():
            self._let_in += 1
        if self._let_in or self._queue:
            # After those that were let in: until then, whoever comes waits behind the others.
            self._burst_ends = now
            asyncio.get_running_loop().call_soon(self._end_burst)
