"""Requests wait for threads only as long as an answer would be in time; others are told at once.

Time is simulated: the pace of the machine that the tests run on decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from ehr_fhir.errors import Unavailable
from ehr_gateway import deadline as deadline_module
from ehr_gateway import thread_admission
from ehr_gateway.deadline import DEFAULT_PATIENCE_SECONDS, Deadline, deadline_of
from ehr_gateway.thread_admission import ThreadAdmission
from tests.lib.loops import SimulatedTimeLoop, run_in

T = TypeVar("T")
WORK_SECONDS = 0.05


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> SimulatedTimeLoop:
    """Return a loop, by whose clock the admission works."""
    loop = SimulatedTimeLoop()
    clock = SimpleNamespace(monotonic=loop.time)
    monkeypatch.setattr(thread_admission, "time", clock)
    monkeypatch.setattr(deadline_module, "time", clock)
    return loop


class Threads:
    """An admission, and the threads that it admits to, each of which does one work at a time."""

    def __init__(self, count: int, places: int | None = None) -> None:
        self.admission = ThreadAdmission(count)
        if places is not None:
            self.admission._places = places
        self._free = asyncio.Semaphore(count)

    async def do(self, work: Coroutine[Any, Any, object] | None = None) -> str:
        """Do a work, of 50 ms unless it is named, and say whether it was done."""
        try:
            await self.admission.enter()
        except Unavailable:
            if work is not None:
                work.close()
            return "refused"
        try:
            async with self._free:
                await (work or asyncio.sleep(WORK_SECONDS))
            return "done"
        finally:
            self.admission.leave()


def test_as_many_work_as_there_are_threads_and_the_next_wait(loop: SimulatedTimeLoop) -> None:
    async def five() -> list[str]:
        threads = Threads(2)
        return await asyncio.gather(*(threads.do() for _ in range(5)))

    start = loop.time()
    assert run_in(loop, five()) == ["done"] * 5
    assert loop.time() - start == pytest.approx(3 * WORK_SECONDS)


def test_those_who_would_wait_too_long_are_refused_at_once_and_the_rest_is_done(
    loop: SimulatedTimeLoop,
) -> None:
    async def crowds() -> list[tuple[str, float]]:
        threads = Threads(2)

        async def timed() -> tuple[str, float]:
            start = loop.time()
            return await threads.do(), loop.time() - start

        # The first ones are measured.
        await asyncio.gather(*(timed() for _ in range(60)))
        return list(await asyncio.gather(*(timed() for _ in range(200))))

    answers = run_in(loop, crowds())
    done = [seconds for answer, seconds in answers if answer == "done"]
    refused = [seconds for answer, seconds in answers if answer == "refused"]
    # In half a second two threads do 20 pieces of work of 50 ms.
    assert 15 < len(done) < 30
    assert max(done) < 2 * DEFAULT_PATIENCE_SECONDS
    assert len(refused) == 200 - len(done)
    assert max(refused) == 0


def test_nobody_waits_longer_than_they_were_promised_behind_work_that_is_stuck(
    loop: SimulatedTimeLoop,
) -> None:
    async def both() -> tuple[str, float, str]:
        threads, go_on = Threads(1, places=1), asyncio.Event()
        first = asyncio.ensure_future(threads.do(go_on.wait()))
        await asyncio.sleep(0)
        start = loop.time()
        second = await threads.do()
        took = loop.time() - start
        go_on.set()
        return second, took, await first

    second, took, first = run_in(loop, both())
    assert (second, first) == ("refused", "done")
    assert took == pytest.approx(DEFAULT_PATIENCE_SECONDS)


def test_no_work_is_done_for_a_client_that_has_gone(loop: SimulatedTimeLoop) -> None:
    done: list[str] = []

    async def note(name: str) -> None:
        done.append(name)

    async def abandoned_while_waiting() -> tuple[str, str, str]:
        threads, go_on = Threads(1, places=1), asyncio.Event()
        first = asyncio.ensure_future(threads.do(go_on.wait()))
        await asyncio.sleep(0)
        deadline = Deadline(loop.time() + 60)
        with deadline_of(deadline):
            second = asyncio.ensure_future(threads.do(note("second")))
        await asyncio.sleep(0.1)
        third = asyncio.ensure_future(threads.do(note("third")))
        await asyncio.sleep(0.1)
        deadline.is_abandoned = True
        go_on.set()
        return await first, await second, await third

    assert run_in(loop, abandoned_while_waiting()) == ("done", "refused", "done")
    assert done == ["third"]


@pytest.mark.parametrize("moment", range(6))
def test_places_are_neither_lost_nor_doubled_when_requests_are_cancelled(
    loop: SimulatedTimeLoop, moment: int
) -> None:
    async def cancelled() -> int:
        threads = Threads(2)
        tasks = [asyncio.ensure_future(threads.do()) for _ in range(8)]
        await asyncio.sleep(WORK_SECONDS * moment / 2)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return threads.admission._at_work

    assert run_in(loop, cancelled()) == 0
