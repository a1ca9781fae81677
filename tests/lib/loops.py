"""Coroutines in tests."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own: a browser of another test may have a loop here."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def run_in(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own, on a loop, and close the loop."""

    def run_it() -> T:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(work)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run_it).result()


class SimulatedTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose clock goes on only while all wait, and then at once: no test waits for time."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_SkippingSelector(self))

    def time(self) -> float:
        """Return the seconds of the simulated clock."""
        return self.now


class _SkippingSelector(selectors.SelectSelector):
    """Waits for files for ever, and for time not at all."""

    def __init__(self, loop: SimulatedTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the files that are ready; without one let the time pass that was to be waited."""
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout:
            self._loop.now += timeout
        return ready
