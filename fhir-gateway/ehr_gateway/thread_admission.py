"""Admission to the threads that work on requests: a bounded number at work, a bounded wait.

Under the GIL more threads answer no more requests, and a queue without a bound answers all of them
late: whoever gave up by then is worked for in vain, and nothing useful leaves. So a request is
admitted at once, or waits for a turn that will come in time, or is refused at once with 503 and
Retry-After, before any work is done for it. How many can be answered in time follows from the pace
at which the threads finish, measured while all of them are busy.

What an embedded store answers on the event loop needs no thread, and is not held up by those that
do (`loop_admission`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass

from ehr_fhir.errors import Unavailable
from ehr_gateway.deadline import Deadline, current_deadline

__all__ = [
    "LONGEST_WAIT_SECONDS",
    "OVERLOADED",
    "WORK_THREADS",
    "ThreadAdmission",
    "Waiting",
    "refuse",
]

# Under the GIL more threads only contend for the interpreter, and each holds memory and a database
# connection of its own. Chosen.
WORK_THREADS = 8
# Some clients give up after a second. Half of it leaves room for what is not measured, and keeps
# all threads busy as long as a request takes them less than that. Chosen.
LONGEST_WAIT_SECONDS = 0.5
_LONGEST_ANSWER_SECONDS = 0.5
# Until some requests were measured; what a search takes.
_FIRST_PACE_SECONDS = 0.03
# How much of the measured pace the newest interval makes up. Chosen: it follows a change of load
# within some dozens of requests.
_PACE_WEIGHT = 0.2
OVERLOADED = "More requests come than can be answered in time. Try again in a moment."


@dataclass(slots=True)
class Waiting:
    """A request that waits for its turn."""

    future: asyncio.Future[None]
    deadline: Deadline | None


class ThreadAdmission:
    """The threads of one process, and the requests that wait for them."""

    def __init__(self, threads: int = WORK_THREADS) -> None:
        self._threads = threads
        # Some requests are not on a thread at the moment: their audit rows are written.
        self._places = 2 * threads
        self._at_work = 0
        self._waiting: deque[Waiting] = deque()
        # Seconds from one request's end to the next one's, while all threads are busy.
        self._pace = _FIRST_PACE_SECONDS
        self._last_end = 0.0

    def check_room(self) -> None:
        """Raise Unavailable if a request that came now would be answered too late."""
        if self._at_work < self._threads:
            return
        if (self._at_work + len(self._waiting) + 1) * self._pace > _LONGEST_ANSWER_SECONDS:
            raise Unavailable(OVERLOADED)

    async def enter(self) -> None:
        """Take a place at work; raise Unavailable if the answer would not be in time.

        The place is for all the work until the response begins, its audit row included.
        """
        self.check_room()
        if self._at_work < self._places:
            self._at_work += 1
            return
        loop = asyncio.get_running_loop()
        waiting = Waiting(loop.create_future(), current_deadline())
        self._waiting.append(waiting)
        timer = loop.call_later(LONGEST_WAIT_SECONDS, refuse, waiting.future)
        try:
            await waiting.future
        except asyncio.CancelledError:
            if waiting.future.done() and not waiting.future.cancelled():
                # The place was given to a request that is cancelled in the same moment.
                self._pass_on()
            raise
        finally:
            timer.cancel()

    def reenter(self) -> None:
        """Take the place back that was left for a while, without a wait."""
        self._at_work += 1

    def leave(self) -> None:
        """Give the place to the next request that waits."""
        now = time.monotonic()
        if self._at_work >= self._threads and self._last_end:
            self._pace += _PACE_WEIGHT * (now - self._last_end - self._pace)
        self._pass_on()
        # An interval counts only if all threads were busy from its beginning to its end.
        self._last_end = now if self._at_work >= self._threads else 0.0

    def _pass_on(self) -> None:
        while self._waiting and self._at_work <= self._places:
            waiting = self._waiting.popleft()
            if waiting.deadline is not None and waiting.deadline.is_over:
                # Its client has gone.
                refuse(waiting.future)
                continue
            if not waiting.future.done():
                waiting.future.set_result(None)
                return
        self._at_work -= 1


def refuse(future: asyncio.Future[None]) -> None:
    """Tell a request that its turn does not come in time, unless it has come."""
    if not future.done():
        future.set_exception(Unavailable(OVERLOADED))
