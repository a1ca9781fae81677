"""Reads that are asked side by side leave together, and each has its own answer or error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ehr_fhir.errors import Forbidden
from ehr_portal.gateway.read_queue import MAX_BATCH_READS, ReadQueue
from tests.lib.loops import run


class Sender:
    """Answers each address with itself; those that begin with `!` are refused."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    async def send(self, addresses: Sequence[str]) -> Sequence[str | Exception]:
        self.batches.append(list(addresses))
        return [Forbidden("no") if a.startswith("!") else a.upper() for a in addresses]


def test_what_is_asked_in_tasks_of_tasks_leaves_in_one_batch() -> None:
    sender = Sender()

    async def ask() -> list[str]:
        queue = ReadQueue(sender.send)

        async def section(*names: str) -> list[str]:
            return await asyncio.gather(*(queue.read(name) for name in names))

        first, second, third = await asyncio.gather(
            section("a", "b"), section("c"), queue.read("a")
        )
        return [*first, *second, third, await queue.read("later")]

    assert run(ask()) == ["A", "B", "C", "A", "LATER"]
    assert [sorted(batch) for batch in sender.batches] == [["a", "b", "c"], ["later"]]


def test_a_refusal_of_one_address_leaves_the_others() -> None:
    async def ask() -> tuple[str | BaseException, str | BaseException]:
        queue = ReadQueue(Sender().send)
        return await asyncio.gather(queue.read("!a"), queue.read("b"), return_exceptions=True)

    refused, answer = run(ask())
    assert isinstance(refused, Forbidden)
    assert answer == "B"


def test_a_batch_that_fails_fails_whoever_waits_and_no_later_one() -> None:
    failing = [True]

    async def send(addresses: Sequence[str]) -> Sequence[str | Exception]:
        if failing.pop():
            raise OSError
        return list(addresses)

    async def ask() -> str:
        queue: ReadQueue[str] = ReadQueue(send)
        with pytest.raises(OSError):
            await queue.read("a")
        failing.append(False)
        return await queue.read("a")

    assert run(ask()) == "a"


def test_who_is_cancelled_takes_nobody_along() -> None:
    async def ask() -> str:
        queue = ReadQueue(Sender().send)
        gone = asyncio.create_task(queue.read("a"))
        stays = asyncio.create_task(queue.read("a"))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert run(ask()) == "A"


def test_no_batch_is_longer_than_the_limit() -> None:
    sender = Sender()
    names = [f"n{number}" for number in range(MAX_BATCH_READS + 1)]

    async def ask() -> list[str]:
        queue = ReadQueue(sender.send)
        return await asyncio.gather(*(queue.read(name) for name in names))

    assert len(run(ask())) == len(names)
    assert [len(batch) for batch in sender.batches] == [MAX_BATCH_READS, 1]
