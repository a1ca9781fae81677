"""Reads that a page asks for in one turn of the event loop, collected and sent together.

A page asks for what it shows in the midst of its code, each search where it is needed, and awaits
all of them side by side. They leave as one batch (R4 §3.1.0.11), as DataLoader does it: the gateway
then admits a page once, and judges each entry as a request of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["MAX_BATCH_READS", "ReadQueue"]

Answer = TypeVar("Answer")
# Reads of one batch at most; more are sent one batch after the other, so that no page holds a
# thread of the gateway for long. The timeline asks for 35 kinds of records. Chosen.
MAX_BATCH_READS = 48
# Turns of the event loop in which nothing is added before the batch leaves: tasks of tasks begin a
# turn later than those that start them. Chosen.
_QUIET_TURNS = 2


class ReadQueue(Generic[Answer]):
    """Collects addresses; `send` answers them in order, each with an answer or its error."""

    def __init__(
        self, send: Callable[[Sequence[str]], Awaitable[Sequence[Answer | Exception]]]
    ) -> None:
        self._send = send
        # By address: everybody who waits for its answer. One address is asked for once.
        self._waiting: dict[str, list[asyncio.Future[Answer]]] = {}
        self._quiet_turns = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def read(self, address: str) -> Answer:
        """Return the answer of an address; raise its error."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._end_turn, loop)
        self._waiting.setdefault(address, []).append(future)
        self._quiet_turns = 0
        return await future

    def _end_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send what is there unless more was added in this turn."""
        if self._quiet_turns < _QUIET_TURNS:
            self._quiet_turns += 1
            loop.call_soon(self._end_turn, loop)
            return
        waiting, self._waiting = self._waiting, {}
        task = loop.create_task(self._answer_all(waiting))
        # The loop itself does not keep its tasks.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_all(self, waiting: dict[str, list[asyncio.Future[Answer]]]) -> None:
        addresses = list(waiting)
        for start in range(0, len(addresses), MAX_BATCH_READS):
            batch = addresses[start : start + MAX_BATCH_READS]
            try:
                answers = await self._send(batch)
            except Exception as error:
                answers = [error] * len(batch)
            for address, answer in zip(batch, answers, strict=True):
                for future in waiting[address]:
                    # Whoever was cancelled waits no longer.
                    if future.done():
                        continue
                    if isinstance(answer, Exception):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)
