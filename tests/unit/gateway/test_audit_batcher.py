"""Nothing leaves before it is on record; requests in flight are put on record together."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.errors import Unavailable
from ehr_gateway.audit_log.batcher import AuditBatcher
from ehr_gateway.audit_log.spool import Spool
from ehr_gateway.database import Connection, open_database
from tests.lib.audit_writers import event
from tests.lib.gateway import House
from tests.lib.loops import run


class Counted(Spool):
    """Counts how often it was written to."""

    times = 0

    def append(self, rows: Any) -> None:
        """Keep rows."""
        self.times += 1
        super().append(rows)


@pytest.fixture
def spool(house: House, tmp_path: Path) -> Counted:
    """Return the files of the house's log, empty."""
    return Counted(tmp_path / "spool", house.gateway.store.database)


@pytest.fixture
def auditor(house: House, spool: Counted) -> AuditBatcher:
    """Return who keeps what is disclosed."""
    return AuditBatcher(house.gateway.store, spool)


def ids(house: House) -> list[str]:
    sql = "SELECT id FROM audit WHERE login = 'dr.chan' ORDER BY seq"
    with house.gateway.store.read_transaction() as connection:
        return [row[0] for row in connection.execute(sql)]


def test_requests_in_flight_are_kept_together(
    house: House, auditor: AuditBatcher, spool: Counted
) -> None:
    async def many() -> None:
        await asyncio.gather(*(auditor.write([[event(n)]]) for n in range(40)))

    run(many())
    auditor.flush()

    assert ids(house) == [f"event-{n}" for n in range(40)]
    assert spool.times <= 3


def test_what_is_read_is_put_on_record_while_another_writes(
    house: House, auditor: AuditBatcher
) -> None:
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        with house.gateway.store.write_transaction():
            taken.set()
            free.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(30)
    run(auditor.write([[event(1)]]))
    free.set()
    holder.join()
    auditor.flush()

    assert ids(house) == ["event-1"]


def test_no_answer_leaves_that_could_not_be_put_on_record(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor = furnished.login("doctor.a")
    shown = doctor.get("Observation/lab-1")

    async def refuse(*_: Any) -> None:
        raise Unavailable("The log is full.")

    monkeypatch.setattr(furnished.gateway.audit_batcher, "write", refuse)
    for address in ("Observation/lab-1", "Observation?_id=lab-1", "Observation/lab-1/_history"):
        answer = doctor.get(address)

        assert answer.status_code == 503
        assert "lab-1" not in answer.text
    assert shown.status_code == 200


def test_one_that_cannot_be_made_is_no_harm_to_the_others(
    house: House, auditor: AuditBatcher
) -> None:
    def broken(connection: Connection) -> list[Any]:
        raise ValueError

    async def three() -> list[Any]:
        writes: list[Any] = [[[event(1)]], [broken], [[event(2)]]]
        return await asyncio.gather(*map(auditor.write, writes), return_exceptions=True)

    first, second, third = run(three())
    auditor.flush()

    assert (first, third) == (None, None)
    assert isinstance(second, ValueError)
    assert sorted(ids(house)) == ["event-1", "event-2"]


def test_what_was_disclosed_is_on_record_when_its_file_is_closed_in_between(
    house: House, auditor: AuditBatcher
) -> None:
    for number in range(3):
        run(auditor.write([[event(number)]]))
        auditor.flush()

    assert ids(house) == ["event-0", "event-1", "event-2"]


def test_a_server_that_ends_has_carried_what_it_kept(furnished: House) -> None:
    with furnished.client:
        assert furnished.login("doctor.a").get("Observation/lab-1").status_code == 200
    sql = "SELECT count(*) FROM audit WHERE login = 'doctor.a' AND interaction = 'read'"

    database = open_database(furnished.settings.database)
    with closing(database), database.read_transaction() as connection:
        assert connection.execute(sql).fetchone()[0] == 1
    assert not list(furnished.settings.audit_spool.glob("*.rows"))


def test_stores_of_one_folder_carry_for_each_other(house: House, spool: Counted) -> None:
    spool.append([event(1)])
    another = Spool(spool._folder, house.gateway.store.database)

    another.flush()
    spool.append([event(2)])
    another.flush()

    assert ids(house) == ["event-1", "event-2"]
