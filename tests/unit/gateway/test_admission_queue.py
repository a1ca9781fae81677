"""Who waits to be admitted: the impatient before the patient, no account before all others."""

from __future__ import annotations

import asyncio
import time

import pytest

from ehr_fhir.errors import Unavailable
from ehr_gateway import admission_queue
from ehr_gateway.admission_queue import AdmissionQueue
from ehr_gateway.deadline import Deadline, deadline_of
from ehr_gateway.http.request_guard import _patience
from ehr_gateway.thread_admission import ThreadAdmission
from tests.lib.loops import SimulatedTimeLoop, run, run_in


async def admitted(queue: AdmissionQueue, waiting: list[tuple[str, float, str]]) -> list[str]:
    """Let each wait with its patience and account; return the names as they are admitted."""
    order: list[str] = []

    async def wait(name: str, patience: float, account: str) -> None:
        with deadline_of(Deadline(time.monotonic() + 60, patience)):
            await queue.wait(account=account)
        order.append(name)

    tasks = [asyncio.create_task(wait(*one)) for one in waiting]
    await asyncio.sleep(0)
    while queue.admit_next():
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    return order


def test_equals_come_in_their_order_and_the_impatient_pass_the_patient() -> None:
    waiting = [("a", 10, "x"), ("b", 10, "y"), ("c", 0.5, "z"), ("d", 10, "v")]

    assert run_in(SimulatedTimeLoop(), admitted(AdmissionQueue(), waiting)) == ["c", "a", "b", "d"]


def test_many_requests_of_one_account_do_not_hold_up_the_others() -> None:
    flood = [(f"flood-{number:02}", 0.5, "program") for number in range(20)]

    order = run_in(SimulatedTimeLoop(), admitted(AdmissionQueue(), [*flood, ("person", 10, "p")]))

    # Equals of the others, then the person, then the rest of the flood.
    assert order.index("person") == 8
    assert [name for name in order if name != "person"] == [name for name, _, _ in flood]


def test_no_more_wait_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_queue, "_MAX_WAITING", 3)
    queue = AdmissionQueue()

    async def crowd() -> list[object]:
        tasks = [asyncio.create_task(queue.wait()) for _ in range(5)]
        await asyncio.sleep(0)
        while queue.admit_next():
            pass
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    results = run_in(SimulatedTimeLoop(), crowd())
    assert [isinstance(result, Unavailable) for result in results] == [False] * 3 + [True] * 2
    assert len(queue) == 0


def test_whoever_would_rather_wait_is_let_in_later_where_others_are_refused() -> None:
    threads = ThreadAdmission(1)
    # Two at work take a second each.
    threads._at_work, threads._pace = 2, 1.0

    async def check(patience: float) -> str:
        with deadline_of(Deadline(time.monotonic() + 60, patience)):
            try:
                threads.check_room()
            except Unavailable:
                return "refused"
        return "waits"

    assert (run(check(0.5)), run(check(10.0))) == ("refused", "waits")


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (b"wait=3", 3.0),
        (b"return=minimal, wait=2", 2.0),
        (b'handling=lenient;Wait = "4"', 4.0),
        (b"wait=99999", 0.5),
        (b"wait=600", 30.0),
        (b"await=3", 0.5),
        (b"return=minimal", 0.5),
    ],
)
def test_a_client_says_how_long_it_would_rather_wait(prefer: bytes, seconds: float) -> None:
    assert _patience({"headers": [(b"accept", b"*/*"), (b"prefer", prefer)]}) == seconds
