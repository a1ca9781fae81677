"""Requests wait for threads only as long as an answer would be in time; others are told at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial

import anyio.to_thread
import pytest
from anyio import CapacityLimiter

from ehr_fhir.errors import Unavailable
from ehr_gateway.deadline import Deadline, deadline_of
from ehr_gateway.thread_admission import ThreadAdmission
from tests.lib.loops import run

WORK_SECONDS = 0.05
LIMITERS: dict[ThreadAdmission, CapacityLimiter] = {}


def work() -> str:
    time.sleep(WORK_SECONDS)
    return "done"


def limiter_of(threads: ThreadAdmission) -> CapacityLimiter:
    """Return what lets as many run at once as there are threads."""
    if threads not in LIMITERS:
        LIMITERS[threads] = CapacityLimiter(threads._threads)
    return LIMITERS[threads]


async def outcome(threads: ThreadAdmission, function: Callable[[], str] = work) -> str:
    try:
        await threads.enter()
    except Unavailable:
        return "refused"
    try:
        return await anyio.to_thread.run_sync(function, limiter=limiter_of(threads))
    finally:
        threads.leave()


def test_as_many_work_as_there_are_threads_and_the_next_wait() -> None:
    threads = ThreadAdmission(2)

    async def five() -> list[str]:
        return await asyncio.gather(*(outcome(threads) for _ in range(5)))

    start = time.monotonic()
    assert run(five()) == ["done"] * 5
    assert time.monotonic() - start >= 3 * WORK_SECONDS


def test_those_who_would_wait_too_long_are_refused_at_once_and_the_rest_is_done() -> None:
    threads = ThreadAdmission(2)

    async def crowds() -> list[tuple[str, float]]:
        async def timed() -> tuple[str, float]:
            start = time.monotonic()
            return await outcome(threads), time.monotonic() - start

        # The first ones are measured.
        await asyncio.gather(*(timed() for _ in range(60)))
        return list(await asyncio.gather(*(timed() for _ in range(200))))

    answers = run(crowds())
    done = [seconds for answer, seconds in answers if answer == "done"]
    refused = sorted(seconds for answer, seconds in answers if answer == "refused")
    # In half a second two threads do 20 pieces of work of 50 ms.
    assert 5 < len(done) < 60
    assert max(done) < 1.5
    assert refused[len(refused) // 2] < 0.1


def test_nobody_waits_longer_than_they_were_promised_behind_work_that_is_stuck() -> None:
    threads, go_on = ThreadAdmission(1), threading.Event()
    threads._places = 1

    def stuck() -> str:
        go_on.wait(20)
        return "late"

    async def both() -> tuple[str, float, str]:
        first = asyncio.ensure_future(outcome(threads, stuck))
        await asyncio.sleep(0.05)
        start = time.monotonic()
        second = await outcome(threads)
        took = time.monotonic() - start
        go_on.set()
        return second, took, await first

    second, took, first = run(both())
    assert (second, first) == ("refused", "late")
    assert took < 1.5


def test_no_work_is_done_for_a_client_that_has_gone() -> None:
    threads, go_on = ThreadAdmission(1), threading.Event()
    threads._places = 1
    done: list[str] = []

    def note(name: str) -> str:
        done.append(name)
        return name

    async def abandoned_while_waiting() -> None:
        first = asyncio.ensure_future(outcome(threads, lambda: str(go_on.wait(20))))
        await asyncio.sleep(0.05)
        deadline = Deadline(time.monotonic() + 60)
        with deadline_of(deadline):
            second = asyncio.ensure_future(outcome(threads, partial(note, "second")))
        await asyncio.sleep(0.05)
        third = asyncio.ensure_future(outcome(threads, partial(note, "third")))
        deadline.is_abandoned = True
        await asyncio.sleep(0.05)
        go_on.set()
        await asyncio.gather(first, second, third)

    run(abandoned_while_waiting())

    assert done == ["third"]


@pytest.mark.parametrize("moment", range(6))
def test_places_are_neither_lost_nor_doubled_when_requests_are_cancelled(moment: int) -> None:
    threads = ThreadAdmission(2)

    async def cancelled() -> None:
        tasks = [asyncio.ensure_future(outcome(threads)) for _ in range(8)]
        await asyncio.sleep(WORK_SECONDS * moment / 2)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(cancelled())

    assert threads._at_work == 0
