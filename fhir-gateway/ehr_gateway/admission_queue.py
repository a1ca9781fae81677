"""Requests that wait to be admitted, each with a bound on its wait; who may wait least comes first.

A client says by `Prefer: wait=<seconds>` (RFC 7240 §4.3) that it would rather wait than be refused.
Order: first come, first served among requests of equal patience; a short patience passes a long
one; and of one account so many requests are equals, more of them come after everybody else's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from ehr_fhir.errors import Unavailable
from ehr_gateway.deadline import DEFAULT_PATIENCE_SECONDS, Deadline, current_deadline

__all__ = ["OVERLOADED", "AdmissionQueue", "Turns", "current_patience"]

OVERLOADED = "More requests come than can be answered in time. Try again in a moment."
# Requests that wait in one process; each holds its head and body in memory. Chosen: twice as many
# as the people that two workers are to serve at once.
_MAX_WAITING = 256
# Requests of one account that wait as equals of others'. Chosen: as many as there are threads, so
# that one program alone keeps them busy.
_EQUALS_OF_AN_ACCOUNT = 8


@dataclass(slots=True)
class _Waiting:
    """A request that waits for its turn."""

    # Its place among the others: see `AdmissionQueue._order`.
    order: tuple[int, float, int]
    future: asyncio.Future[None]
    deadline: Deadline | None

    def __lt__(self, other: _Waiting) -> bool:
        return self.order < other.order


def current_patience() -> float:
    """Return for how many seconds the request that this code works for may wait."""
    deadline = current_deadline()
    return DEFAULT_PATIENCE_SECONDS if deadline is None else deadline.patience


class AdmissionQueue:
    """The requests of one event loop that wait."""

    def __init__(self) -> None:
        # A heap. Those whose wait is over stay in it until they are met.
        self._waiting: list[_Waiting] = []
        self._numbers = count()
        # How many of each account still wait.
        self._by_account: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._by_account.total()

    def count_ahead(self, account: str = "") -> int:
        """Return how many of those who wait would be admitted before the current request."""
        if not self._waiting:
            return 0
        order = self._order(account)
        return sum(waiting.order < order and not waiting.future.done() for waiting in self._waiting)

    async def wait(
        self, give_back: Callable[[], None] = lambda: None, *, account: str = ""
    ) -> None:
        """Return when the request is admitted; raise Unavailable if that is not in time.

        `give_back` is called for a request that is cancelled in the moment in which it is admitted.
        """
        if len(self) >= _MAX_WAITING:
            raise Unavailable(OVERLOADED)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(self._order(account), loop.create_future(), current_deadline())
        heappush(self._waiting, waiting)
        self._by_account[account] += 1
        timer = loop.call_later(current_patience(), _refuse, waiting.future)
        try:
            await waiting.future
        except asyncio.CancelledError:
            if waiting.future.done() and not waiting.future.cancelled():
                give_back()
            raise
        finally:
            timer.cancel()
            self._by_account[account] -= 1
            if not self._by_account[account]:
                del self._by_account[account]

    def admit_next(self) -> bool:
        """Admit the next request that still waits; return False if there is none."""
        while self._waiting:
            waiting = heappop(self._waiting)
            if waiting.deadline is not None and waiting.deadline.is_over:
                # Its client has gone.
                _refuse(waiting.future)
            elif not waiting.future.done():
                waiting.future.set_result(None)
                return True
        return False

    def _order(self, account: str) -> tuple[int, float, int]:
        """Return the place of a request: how many of its account wait, until when it may wait."""
        rank = self._by_account[account] // _EQUALS_OF_AN_ACCOUNT if account else 0
        return rank, asyncio.get_running_loop().time() + current_patience(), next(self._numbers)


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
