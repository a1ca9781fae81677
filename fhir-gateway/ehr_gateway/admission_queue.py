"""Requests that wait to be admitted, first come first served, each with a bound on its wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ehr_fhir.errors import Unavailable
from ehr_gateway.deadline import Deadline, current_deadline

__all__ = ["LONGEST_WAIT_SECONDS", "OVERLOADED", "AdmissionQueue", "Turns"]

# Some clients give up after a second. Half of it leaves room for what is not measured, and keeps
# all threads busy as long as a request takes them less than that. Chosen.
LONGEST_WAIT_SECONDS = 0.5
OVERLOADED = "More requests come than can be answered in time. Try again in a moment."


@dataclass(slots=True)
class _Waiting:
    """A request that waits for its turn."""

    future: asyncio.Future[None]
    deadline: Deadline | None


class AdmissionQueue:
    """The requests of one event loop that wait."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, give_back: Callable[[], None] = lambda: None) -> None:
        """Return when the request is admitted; raise Unavailable if that is not in time.

        `give_back` is called for a request that is cancelled in the moment in which it is admitted.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loop.create_future(), current_deadline())
        self._waiting.append(waiting)
        timer = loop.call_later(LONGEST_WAIT_SECONDS, _refuse, waiting.future)
        try:
            await waiting.future
        except asyncio.CancelledError:
            if waiting.future.done() and not waiting.future.cancelled():
                give_back()
            raise
        finally:
            timer.cancel()

    def admit_next(self) -> bool:
        """Admit the next request that still waits; return False if there is none."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if waiting.deadline is not None and waiting.deadline.is_over:
                # Its client has gone.
                _refuse(waiting.future)
            elif not waiting.future.done():
                waiting.future.set_result(None)
                return True
        return False


class Turns:
    """A bounded number of requests at work at the same time; the others wait for their turn."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._at_work = 0
        self._queue = AdmissionQueue()

    async def take(self) -> None:
        """Return when it is the request's turn; raise Unavailable if that is not in time."""
        if self._at_work < self._limit:
            self._at_work += 1
        else:
            await self._queue.wait(give_back=self.give_back)

    def give_back(self) -> None:
        """Let the next request have the turn."""
        if not self._queue.admit_next():
            self._at_work -= 1


def _refuse(future: asyncio.Future[None]) -> None:
    """Tell a request that its turn does not come in time, unless it has come."""
    if not future.done():
        future.set_exception(Unavailable(OVERLOADED))
