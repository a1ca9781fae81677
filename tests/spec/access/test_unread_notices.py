"""Unread notices: counted for their reader alone, until the reader has read them."""

from __future__ import annotations

from ehr_gateway.notices.outbox import Notice, queue_notice
from tests.lib.gateway import House, Session, must
from tests.spec.access.steps import carer, named, send


def queue(house: House, cause: str, reader: str, at_ms: int | None = None) -> None:
    with house.gateway.store.write_transaction() as connection:
        now = house.clock() if at_ms is None else at_ms
        queue_notice(
            connection, Notice(cause, "access", "pat-1", reader, "Dr B", "hospital-b", now)
        )


def unread(session: Session) -> int:
    return int(named(session.get("$unread-notices"))["unread"][0])


def ids(session: Session) -> list[str]:
    return [one["id"][0] for one in named(session.get("$notices")).get("notice", [])]


def test_notices_are_new_until_they_were_read(furnished: House) -> None:
    patient = furnished.login("p.pat-1")
    assert unread(patient) == 0
    for number in range(3):
        furnished.clock.forward(seconds=60)
        queue(furnished, f"c{number}", "Patient/pat-1")
    newest, middle, _ = ids(patient)
    assert unread(patient) == 3

    must(send(patient, "$read-notices", newest=middle))

    assert unread(patient) == 1
    read = [one["read"][0] for one in named(patient.get("$notices"))["notice"]]
    assert read == [False, True, True]
    assert named(send(patient, "$read-notices", newest=newest))["unread"] == [0]
    # Made afterwards of an access of before, as those are: it is new all the same.
    queue(furnished, "late", "Patient/pat-1", furnished.clock() - 1000)
    assert unread(patient) == 1


def test_nobody_reads_for_another(furnished: House) -> None:
    manager = carer(furnished, "carer.1", power="manage")
    patient = furnished.login("p.pat-1")
    before = unread(patient)
    queue(furnished, "of-patient", "Patient/pat-1")
    queue(furnished, "of-carer", "person/carer.1")
    (of_carer,) = ids(manager)

    must(send(patient, "$read-notices", newest=of_carer))
    assert (unread(patient), unread(manager)) == (before + 1, 1)
    must(send(manager, "$read-notices", newest=of_carer))
    assert (unread(patient), unread(manager)) == (before + 1, 0)
    for login in ("doctor.a", "steward", "auditor", "researcher"):
        assert furnished.login(login).get("$unread-notices").status_code == 403


def test_more_than_can_be_said_are_not_counted(furnished: House) -> None:
    for number in range(101):
        queue(furnished, f"c{number}", "Patient/pat-1")

    assert unread(furnished.login("p.pat-1")) == 99


def test_what_no_page_showed_stays_new_and_can_be_reached(furnished: House) -> None:
    patient = furnished.login("p.pat-1")
    for number in range(230):
        furnished.clock.forward(seconds=1)
        queue(furnished, f"c{number}", "Patient/pat-1")
    queue(furnished, "of-carer", "person/carer.1")
    pages: list[list[str]] = []
    address = "$notices"
    while address:
        answer = named(patient.get(address))
        pages.append([one["id"][0] for one in answer["notice"]])
        address = f"$notices?before={pages[-1][-1]}" if answer["older"] == [True] else ""

    assert [len(page) for page in pages] == [100, 100, 30]
    assert len({name for page in pages for name in page}) == 230
    for page, left in zip(pages, (99, 30, 0), strict=True):
        answer = send(patient, "$read-notices", newest=page[0], oldest=page[-1])
        assert named(answer)["unread"] == [left]
    with furnished.gateway.store.read_transaction() as connection:
        (other,) = connection.execute(
            "SELECT id FROM notice WHERE reader = 'person/carer.1'"
        ).fetchone()
    for name in (other, "absent"):
        assert "notice" not in named(patient.get(f"$notices?before={name}"))
        queue(furnished, f"new-{name}", "Patient/pat-1")
        unread_before = unread(patient)
        must(send(patient, "$read-notices", newest=ids(patient)[0], oldest=name))
        assert unread(patient) == unread_before
