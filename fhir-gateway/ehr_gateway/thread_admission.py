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

import time

from ehr_fhir.errors import Unavailable
from ehr_gateway.admission_queue import OVERLOADED, AdmissionQueue, current_patience

__all__ = ["WORK_THREADS", "ThreadAdmission"]

# Under the GIL more threads only contend for the interpreter, and each holds memory and a database
# connection of its own. Chosen.
WORK_THREADS = 8
# Until some requests were measured; what a search takes.
_FIRST_PACE_SECONDS = 0.03
# How much of the measured pace the newest interval makes up. Chosen: it follows a change of load
# within some dozens of requests.
_PACE_WEIGHT = 0.2


class ThreadAdmission:
    """The threads of one process, and the requests that wait for them."""

    def __init__(self, threads: int = WORK_THREADS) -> None:
        self._threads = threads
        # Some requests are not on a thread at the moment: their audit rows are written.
        self._places = 2 * threads
        self._at_work = 0
        self._queue = AdmissionQueue()
        # Seconds from one request's end to the next one's, while all threads are busy.
        self._pace = _FIRST_PACE_SECONDS
        self._last_end = 0.0

    def check_room(self, account: str = "") -> None:
        """Raise Unavailable if a request that came now would be answered too late."""
        if self._at_work < self._threads:
            return
        ahead = self._at_work + self._queue.count_ahead(account)
        if (ahead + 1) * self._pace > current_patience():
            raise Unavailable(OVERLOADED)

    async def enter(self, account: str = "") -> None:
        """Take a place at work; raise Unavailable if the answer would not be in time.

        The place is for all the work until the response begins, its audit row included.
        """
        self.check_room(account)
        if self._at_work < self._places:
            self._at_work += 1
            return
        await self._queue.wait(give_back=self._pass_on, account=account)

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
        if self._at_work > self._places or not self._queue.admit_next():
            self._at_work -= 1
