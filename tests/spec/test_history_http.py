"""History over HTTP at its three levels: `_since`, `_at`, pages, and consent by each version."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_fhir.validation.validate import validate
from tests.lib.gateway import House, MoveIn, Session, must, observation, organization, restriction


@pytest.fixture
def program(house: House) -> Session:
    """Return a session that wrote org-1 thrice and org-2 once, an hour apart, and deleted org-2."""
    session = house.system("ehr-commons")
    for name in ("org-1", "org-2", "org-1", "org-1"):
        must(session.put(organization(name)))
        house.clock.forward(seconds=600)
    must(session.delete("Organization/org-2"))
    return house.system("ehr-commons")


def seen(page: Any) -> list[str]:
    """Return each entry as its id, version and method."""
    return [
        f"{entry['request']['url'].rpartition('/')[2]}:{entry['response']['etag'][3]}"
        f":{entry['request']['method']}"
        for entry in must(page).json().get("entry", [])
    ]


def test_a_type_and_the_whole_have_a_history_newest_first(program: Session) -> None:
    expected = ["org-2:2:DELETE", "org-1:3:PUT", "org-1:2:PUT", "org-2:1:PUT", "org-1:1:PUT"]

    for address in ("Organization/_history", "_history"):
        answer = must(program.get(address))
        validate(answer.json())
        assert answer.json()["type"] == "history"
        assert seen(answer) == expected
        assert program.request("HEAD", address).status_code == 200
    entries = program.get("_history").json()["entry"]
    assert "resource" not in entries[0]
    assert entries[-1]["response"]["status"] == "201"
    assert entries[-1]["fullUrl"].endswith("/fhir/Organization/org-1")
    assert seen(program.get("Patient/_history")) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("_since=2026-11-22T08:20:00Z", ["2:2", "1:3", "1:2"]),
        ("_since=2026-11-22T16:20:00%2B08:00", ["2:2", "1:3", "1:2"]),
        ("_since=2026-11-22T16:20:00+08:00", ["2:2", "1:3", "1:2"]),
        ("_since=2026-11-22T08:20:00.001Z", ["2:2", "1:3"]),
        ("_since=2027", []),
        ("_at=2026-11-22T08:00:00Z", ["1:1"]),
        ("_at=2026-11-22T08:15:00Z", ["2:1", "1:1"]),
        ("_at=2026-11-22T08:20:00Z", ["1:2", "2:1"]),
        ("_at=2026-11-22", ["2:2", "1:3", "1:2", "2:1", "1:1"]),
        ("_at=2026-11-21", []),
        ("_at=2027", ["2:2", "1:3"]),
        ("_at=2026-11-22T08:15:00Z&_since=2026-11-22T08:05:00Z", ["2:1"]),
    ],
)
def test_since_and_at_choose_versions(program: Session, query: str, expected: list[str]) -> None:
    for address in ("Organization/_history", "_history"):
        found = [one.removeprefix("org-")[:3] for one in seen(program.get(f"{address}?{query}"))]
        assert found == expected
    of_one = seen(program.get(f"Organization/org-1/_history?{query}"))
    assert [one.removeprefix("org-")[:3] for one in of_one] == [
        one for one in expected if one.startswith("1")
    ]


def test_pages_stay_right_while_data_changes(program: Session) -> None:
    whole = seen(program.get("_history"))

    address: str | None = "_history?_count=2"
    found: list[str] = []
    while address:
        page = must(program.get(address))
        found += seen(page)
        must(program.put({**organization("org-1"), "name": f"After page {len(found)}"}))
        links = {one["relation"]: one["url"] for one in page.json()["link"]}
        assert program.get(links["self"]).status_code == 200
        address = links.get("next")

    assert found == whole


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("_history?_since=yesterday", 400),
        ("_history?_at=2026-13", 400),
        ("_history?_count=x", 400),
        ("_history?_count=1&_count=2", 400),
        ("_history?colour=red", 400),
        ("_history?_cursor=x", 400),
        ("Organization/_history?_at=", 400),
        ("Organization/org-1/_history?_since=0", 400),
        ("Unheard/_history", 404),
        ("Organization/none/_history?_since=2020", 404),
    ],
)
def test_an_odd_history_is_refused(program: Session, address: str, status: int) -> None:
    answer = program.get(address)

    assert answer.status_code == status
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_a_cursor_is_good_for_its_own_history_alone(program: Session) -> None:
    link = must(program.get("_history?_count=1")).json()["link"][1]["url"]
    cursor = link.partition("_cursor=")[2]

    assert program.get(f"Organization/_history?_count=1&_cursor={cursor}").status_code == 400
    assert program.get(f"_history?_since=2020&_cursor={cursor}").status_code == 400


def test_the_history_of_many_needs_the_right_to_search(furnished: House) -> None:
    readers = furnished.system("hospital-a", "system/Observation.r")
    searchers = furnished.system("hospital-a", "system/Observation.s")

    assert readers.get("Observation/_history").status_code == 403
    assert len(seen(searchers.get("Observation/_history"))) == 3
    assert {one["fullUrl"].split("/")[-2] for one in must(
        searchers.get("_history")).json()["entry"]} == {"Observation"}  # fmt: skip
    assert len(seen(readers.get("Observation/lab-1/_history"))) == 1
    assert searchers.get("Observation/lab-1/_history").status_code == 403


def shown(page: Any) -> list[str]:
    """Return each entry as its id, version and method, whatever the request was."""
    return [
        f"{entry['fullUrl'].rpartition('/')[2]}:{entry['response']['etag'][3]}"
        f":{entry['request']['method']}"
        for entry in must(page).json().get("entry", [])
    ]


HISTORIES = (
    "_history", "_history?_count=2", "Observation/_history", "Observation/_history?_count=1",
    "Patient/_history", "_history?_since=2026-11-22T08:05:00Z", "_history?_at=2026-11-22T08:05:00Z",
    "_history?_at=2026-11-22T08:30:00Z", "Observation/vital-1/_history",
    "Observation/vital-1/_history?_at=2026-11-22T08:30:00Z", "Observation/lab-1/_history",
    "Observation/vital-1/_history?_since=2026-11-22T08:05:00Z",
)  # fmt: skip


def walked(house: House) -> list[tuple[str, int, bytes]]:
    doctor = house.login("doctor.b")
    found = []
    for history in HISTORIES:
        address: str | None = history
        while address:
            answer = doctor.get(address)
            found.append((address, answer.status_code, answer.content))
            links = answer.json().get("link", [])
            address = next((one["url"] for one in links if one["relation"] == "next"), None)
    return found


def test_hidden_records_change_no_history(move_in: MoveIn) -> None:
    answers = []
    for name, more in (("without", False), ("with", True)):
        house = move_in("furnished", name)
        close = restriction("close-lab", against="Organization/hospital-b", domain="laboratory")
        house.login("p.pat-1").store(close)
        house.share()
        house.clock.forward(seconds=600)
        hospital = house.system("hospital-a")
        if more:
            hospital.store(observation("lab-9", "laboratory"))
            hospital.store(observation("lab-9", "vital-signs", patient="pat-2"))
            hospital.store(observation("lab-1", "laboratory"))
        house.clock.forward(seconds=600)
        hospital.store(observation("vital-2", "vital-signs"))
        answers.append(walked(house))

    without, with_hidden = answers

    assert without == with_hidden
    assert any(b'"vital-1"' in content for _, _, content in without)
    assert not any(b"lab-" in content for address, _, content in without if "lab-1" not in address)


def test_a_hidden_version_does_not_end_an_older_one(furnished: House) -> None:
    furnished.share()
    close = restriction("close-lab", against="Organization/hospital-b", domain="laboratory")
    furnished.login("p.pat-1").store(close)
    hospital = furnished.system("hospital-a")
    for domain in ("laboratory", "vital-signs"):
        furnished.clock.forward(seconds=600)
        must(hospital.put(observation("vital-1", domain)))

    doctor, author = furnished.login("doctor.b"), furnished.login("doctor.a")

    for address in ("Observation/vital-1/_history", "Observation/_history", "_history"):
        at = f"{address}?_at=2026-11-22T08:15:00Z"
        assert "vital-1:1:POST" in shown(doctor.get(at))
        assert "vital-1:2:PUT" in shown(author.get(at))
        assert "vital-1:1:POST" not in shown(author.get(at))
        assert [one for one in shown(doctor.get(address)) if "vital" in one] == [
            "vital-1:3:PUT", "vital-1:1:POST",
        ]  # fmt: skip


def test_a_hidden_current_version_hides_the_older_ones_at_every_level(furnished: House) -> None:
    furnished.share()
    close = restriction("close-lab", against="Organization/hospital-b", domain="laboratory")
    furnished.login("p.pat-1").store(close)
    must(furnished.system("hospital-a").put(observation("vital-1", "laboratory")))

    doctor = furnished.login("doctor.b")

    for address in ("Observation/_history", "_history", "_history?_at=2026-11-22T08:00:00Z"):
        assert not [one for one in shown(doctor.get(address)) if "vital" in one]
    assert doctor.get("Observation/vital-1/_history").status_code == 404


def test_a_restriction_takes_versions_back_between_two_pages(furnished: House) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")
    page = must(doctor.get("Observation/_history?_count=1")).json()
    must(doctor.get(page["link"][1]["url"]))

    furnished.login("p.pat-1").store(
        restriction("close", against="Organization/hospital-b", domain="laboratory")
    )

    rest = must(doctor.get(page["link"][1]["url"]))
    assert seen(rest) == []
