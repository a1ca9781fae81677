"""Nothing leaves before it is on record; requests in flight share one transaction."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from ehr_fhir.errors import Unavailable
from ehr_gateway.auditor import Auditor
from ehr_gateway.database import Connection
from ehr_gateway.store import Store
from tests.lib.gateway import House
from tests.lib.loops import run


def note(name: str) -> Any:
    def write(connection: Connection) -> None:
        connection.execute("INSERT INTO setting VALUES (?, ?)", (name, b"x"))

    return write


def names(store: Store) -> list[str]:
    with store.reading() as connection:
        rows = connection.execute("SELECT name FROM setting WHERE name LIKE ?", ("note-%",))
        return sorted(row[0] for row in rows)


def test_requests_in_flight_share_a_transaction(store: Store) -> None:
    auditor = Auditor(store.database)
    lent = []
    noting = store.database.noting

    def counted(**options: Any) -> Any:
        lent.append(options)
        return noting(**options)

    store.database.noting = counted  # type: ignore[method-assign]

    async def many() -> None:
        await asyncio.gather(*(auditor.write([note(f"note-{n:02}")]) for n in range(40)))

    run(many())

    assert len(names(store)) == 40
    assert len(lent) <= 3


def test_a_log_that_is_busy_is_waited_for_outside_the_loop(store: Store) -> None:
    auditor = Auditor(store.database)
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        with store.noting():
            taken.set()
            free.wait(30)

    async def write() -> int:
        task = asyncio.create_task(auditor.write([note("note-1")]))
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
            if turns == 50:
                free.set()
        await task
        return turns

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(30)
    turns = run(write())
    holder.join()

    assert turns >= 50
    assert names(store) == ["note-1"]


def test_no_answer_leaves_that_could_not_be_put_on_record(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor = furnished.login("doctor.a")
    shown = doctor.get("Observation/lab-1")

    async def refuse(*_: Any) -> None:
        raise Unavailable("The log is full.")

    monkeypatch.setattr(furnished.gateway.auditor, "write", refuse)
    for address in ("Observation/lab-1", "Observation?_id=lab-1", "Observation/lab-1/_history"):
        answer = doctor.get(address)

        assert answer.status_code == 503
        assert "lab-1" not in answer.text
    assert shown.status_code == 200


def test_one_that_cannot_be_written_is_no_harm_to_the_others(store: Store) -> None:
    auditor = Auditor(store.database)

    def broken(connection: Connection) -> None:
        raise ValueError

    async def three() -> list[Any]:
        writes = [[note("note-a")], [broken], [note("note-b")]]
        return await asyncio.gather(*map(auditor.write, writes), return_exceptions=True)

    first, second, third = run(three())

    assert (first, third) == (None, None)
    assert isinstance(second, ValueError)
    assert names(store) == ["note-a", "note-b"]
