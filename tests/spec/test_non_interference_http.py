"""Stores that differ only in what a requester may not see answer byte for byte alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ehr_fhir.errors import TooCostly
from ehr_gateway.access import Access
from ehr_gateway.operations.registry import OPERATIONS
from ehr_gateway.routes.table import FHIR_ROUTES
from ehr_gateway.search.page import search
from ehr_gateway.search.statements import SearchLimits
from tests.lib import declared
from tests.lib.declared import NOT_TELLING
from tests.lib.gateway import (
    START_MS,
    House,
    MoveIn,
    Session,
    condition,
    encounter,
    observation,
    restriction,
)

HIV = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}
REQUESTS = [
    "Patient/pat-1",
    "Patient/pat-2",
    "Patient/pat-2/_history",
    "Observation/hidden-1",
    "Observation/hidden-1/_history",
    "Observation/hidden-1/_history/1",
    "Observation/hidden-1/_history/7",
    "Condition/hidden-2",
    "Observation/_history",
    "Observation/_history?_count=1",
    "Condition/_history?_since=2020",
    "_history?_count=3",
    "_history?_at=2026-11-22",
    "Patient",
    "Patient?_total=accurate",
    "Patient?name=chan",
    "Patient?identifier=ZB1234563",
    "Observation",
    "Observation?_count=1",
    "Observation?_count=2&_total=accurate",
    "Observation?_summary=count",
    "Observation?patient=pat-1",
    "Observation?patient=pat-2&_total=accurate",
    "Observation?subject=Patient/pat-1&category=laboratory",
    "Observation?_id=hidden-1,lab-1",
    "Observation?_sort=_id",
    "Observation?_sort=-_lastUpdated",
    "Observation?_sort=-date,category&_count=1",
    "Observation?_sort=encounter,-value-quantity,code&_count=2&_total=accurate",
    "Patient?_sort=family,-birthdate&_count=1",
    "Observation?value-quantity=gt1",
    "Observation?_list=any",
    "Observation?_content=twice&_total=accurate",
    "Observation?_text=twice&_sort=-date",
    "Observation?_content=laboratory OR vital OR asthma -twice",
    "Condition?_content=asthma&_count=1&_total=accurate",
    "Condition?_content=asthm*&_sort=code",
    "Condition?_text=血",
    "Condition?encounter.patient._content=chan",
    "Patient?_content=chan&_total=accurate",
    "Patient?_has:Observation:patient:_content=twice",
    "Patient?_has:Condition:patient:_text=血",
    "Observation?patient._content=chan OR twice",
    "Patient/pat-1/Observation?_total=accurate&_count=1",
    "Patient/pat-2/Observation",
    "Patient/absent/Observation",
    "Patient/pat-2/Condition?_include=*",
    "Observation?_summary=true&_include=*&_count=1",
    "Observation?_elements=value&_revinclude=Observation:derived-from",
    "Observation?code-value-quantity=718-7$gt1&_total=accurate",
    "Patient?_has:Observation:patient:code-value-quantity=718-7$13.5",
    "Observation?encounter:missing=true",
    "Observation?_include=Observation:encounter",
    "Observation?_include=Observation:subject&_count=1",
    "Observation?encounter=hidden-3",
    "Observation?_include=*&_include:iterate=Encounter:*",
    "Patient?_revinclude=Observation:patient",
    "Patient?_revinclude=Observation:*&_count=1",
    "Patient?_revinclude=Condition:patient&_include:iterate=Condition:encounter",
    "Encounter?_revinclude=Observation:encounter&_revinclude=Condition:encounter",
    "Organization?_revinclude:iterate=Patient:organization&_revinclude:iterate=Observation:patient",
    "Condition?_include=Condition:encounter",
    "Condition?code:missing=false",
    "Encounter?date=2026",
    "Encounter?_count=0&_total=accurate",
    "Observation?encounter.status=finished",
    "Observation?patient.name=chan&_total=accurate",
    "Observation?subject:Patient._id=pat-2",
    "Observation?encounter.patient._has:Observation:patient:code=718-7",
    "Patient?_has:Observation:patient:code=718-7&_total=accurate",
    "Patient?_has:Observation:patient:category=laboratory",
    "Patient?_has:Observation:patient:encounter.status=finished",
    "Encounter?_has:Observation:encounter:category=laboratory",
    "Encounter?_has:Condition:encounter:code:missing=false",
    "Organization?_has:Observation:performer:status=final",
    "Consent",
    "Consent/close-lab",
    "AuditEvent",
    "Observation?colour=red",
]


def hidden(house: House) -> None:
    """Add what hospital-b may not see: closed records of pat-1, everything of pat-2."""
    hospital = house.system("hospital-a")
    for resource in (
        encounter("hidden-3", patient="pat-2"),
        observation("hidden-1", "laboratory"),
        observation("hidden-4", "vital-signs", patient="pat-2", encounter="hidden-3"),
        condition("hidden-2", "hidden-3", patient="pat-2"),
    ):
        hospital.store(resource)
    xhtml = '<div xmlns="http://www.w3.org/1999/xhtml">twice 血</div>'
    text = {"status": "generated", "div": xhtml}
    note = {"note": [{"text": "twice"}], "text": text}
    hospital.store({**observation("hidden-1", "laboratory"), **note})
    hospital.store({**condition("hidden-2", "hidden-3", patient="pat-2"), "text": text})


def answers(house: House) -> list[tuple[str, int, bytes, dict[str, str]]]:
    """Ask everything, pages and batch included."""
    doctor = house.login("doctor.b")
    found = []
    for request in REQUESTS:
        address: str | None = request
        while address:
            answer = doctor.get(address)
            found.append((address, answer.status_code, answer.content, headers(answer)))
            links = answer.json().get("link", [])
            address = next((one["url"] for one in links if one["relation"] == "next"), None)
    entries = [{"request": {"method": "GET", "url": one}} for one in REQUESTS if "Audit" not in one]
    batch = doctor.post("/fhir", {"resourceType": "Bundle", "type": "batch", "entry": entries})
    found.append(("batch", batch.status_code, batch.content, headers(batch)))
    for body in (observation("hidden-1", "laboratory"), observation("absent", "laboratory")):
        for method in ("PUT", "DELETE"):
            answer = doctor.request(method, f"Observation/{body['id']}", json=body)
            # The one thing that differs is the id that was sent.
            content = answer.content.replace(b"hidden-1", b"absent")
            found.append((method, answer.status_code, content, headers(answer)))
    kind = {"Content-Type": "application/json-patch+json"}
    for name in ("hidden-1", "absent"):
        patch = b'[{"op":"test","path":"/status","value":"final"}]'
        answer = doctor.request("PATCH", f"Observation/{name}", content=patch, headers=kind)
        found.append(("PATCH", answer.status_code, answer.content, headers(answer)))
    for method in ("PATCH", "DELETE"):
        answer = doctor.request(
            method, "Observation?_id=hidden-1,hidden-4", content=patch, headers=kind
        )
        found.append((f"{method} if", answer.status_code, answer.content, headers(answer)))
    return found


def headers(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name != "x-request-id"}


@pytest.mark.parametrize("shared", [False, True])
def test_hidden_records_change_no_answer(move_in: MoveIn, shared: bool) -> None:
    stores = []
    # The same words of address and limits for both: only the records differ.
    for name, more in (("without", False), ("with", True)):
        house = move_in("furnished", name)
        close = restriction("close-lab", against="Organization/hospital-b", domain="laboratory")
        house.login("p.pat-1").store(close)
        if shared:
            house.share()
        if more:
            hidden(house)
        stores.append(answers(house))

    without, with_hidden = stores

    assert any(b'"vital-1"' in content for _, _, content, _ in without) == shared
    assert len(without) == len(with_hidden)
    for one, other in zip(without, with_hidden, strict=True):
        assert one == other, one[0]


def test_nothing_that_is_declared_shows_what_is_hidden(move_in: MoveIn, database: str) -> None:
    stores: list[Any] = []
    steps: list[Any] = []
    # A statement is planned anew by PostgreSQL where SQLite is quick: fewer of each form.
    most = {"sqlite": 60, "postgresql": 8}[database]
    for name, more in (("without", False), ("with", True)):
        house = move_in("furnished", name)
        # A notice of these accesses would come at a time and under an id of chance.
        house.app.state.deliveries.stop()
        house.share()
        declared.fill(house, "pat-1", declared.SHOWN)
        if more:
            declared.fill(house, "pat-2", declared.HIDDEN)
            hidden_of_two(house)
        forms = declared.reads(house.client.get("/fhir/metadata").json())
        asked = [
            (form, address)
            for form, addresses in forms.items()
            for address in addresses[:: -(-len(addresses) // most) or 1]
        ]
        entries = [{"request": {"method": "GET", "url": address}} for _, address in asked]
        # Before the writes; it is the author of them all.
        author = batch(house.system("ehr-commons"), entries)
        stores.append(batch(house.login("doctor.b"), [*entries, *declared.writes()]))
        steps.append(operations(house, "doctor.b", "p.pat-1"))

    for one, other in zip(*steps, strict=True):
        assert one == other, one[:2]
    without, with_hidden = stores
    telling = {form for (form, _), one, other in zip(asked, author, with_hidden, strict=False)
               if one != other}  # fmt: skip

    for number, (one, other) in enumerate(zip(without, with_hidden, strict=True)):
        assert one == other, asked[number] if number < len(asked) else "a write"
    assert {form for form, addresses in forms.items() if addresses} - telling <= NOT_TELLING


def test_no_operation_shows_what_is_closed_of_a_patient_one_may_see(move_in: MoveIn) -> None:
    stores = []
    for name, more in (("without", False), ("with", True)):
        house = move_in("furnished", name)
        house.app.state.deliveries.stop()
        house.share()
        house.login("p.pat-1").store(
            restriction("close-hiv", against="Organization/hospital-b", securityLabel=[HIV])
        )
        if more:
            closed_of_one(house)
        stores.append(operations(house, "doctor.b"))

    telling = {one[1] for one, other in zip(*stores, strict=True) if one != other}

    # The marker is there to tell, and tells here that there was something to be told.
    assert telling == {"Patient/pat-1/$withheld"}


def operations(house: House, *logins: str) -> list[tuple[Any, ...]]:
    """Ask each operation that is declared, of what is hidden and of what is shown, all pages."""
    found = []
    for login in logins:
        session = house.login(login)
        for address in declared.operations():
            if address.endswith("$access-history"):
                # Not of the author of all: what they saw differs, and the history says it truly.
                address += "?login=doctor.b"
            elif "$access-history?" in address:
                address += "&login=doctor.b"
            for answer in all_pages(session, address):
                found.append((login, address, answer))
            if login == "doctor.b" and "?" not in address:
                found.append(
                    (login, address, session.post(address, {"resourceType": "Parameters"}))
                )
    return [
        (login, address, answer.status_code, answer.content, headers(answer))
        for login, address, answer in found
    ]


def all_pages(session: Session, address: str) -> Iterator[Any]:
    """Yield the answer to an address, and to each page that follows it."""
    link: str | None = address
    while link:
        answer = session.get(link)
        yield answer
        links = answer.json().get("link", ()) if "_count" in link and answer.content else ()
        link = next((one["url"] for one in links if one["relation"] == "next"), None)


def closed_of_one(house: House) -> None:
    """Add records of the first patient, of each type and later than all others, that bear HIV."""
    declared.fill(house, "pat-1", declared.HIDDEN, HIV)
    label = {"meta": {"security": [HIV]}}
    later = "2026-06-01T09:00:00+08:00"
    hospital = house.system("hospital-a")
    for resource in (
        {**encounter("closed-1"), "period": {"start": later}},
        {**condition("closed-2", "closed-1"), "recordedDate": later},
        {**observation("closed-3", "laboratory"), "effectiveDateTime": later},
    ):
        hospital.store({**resource, **label})


def hidden_of_two(house: House) -> None:
    """Add what the second patient decided and asks, none of which is the first one's to see."""
    house.login("p.pat-2").store(
        {**restriction("close-two"), "patient": {"reference": "Patient/pat-2"}}
    )
    house.system("hospital-a").store(observation("hidden-5", "laboratory", patient="pat-2"))


def test_every_operation_that_is_routed_is_declared() -> None:
    called = (route.path.rpartition("$")[2] for route in FHIR_ROUTES if "/$" in route.path)
    # One that answers later has addresses of its own below its name.
    routed = {address.partition("/")[0] for address in called}

    assert routed == {operation.name for operation in OPERATIONS}


def batch(session: Session, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the answers of the entries of a batch."""
    answer = session.post("/fhir", {"resourceType": "Bundle", "type": "batch", "entry": entries})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entry"]
    return found


def test_a_write_to_a_hidden_record_answers_as_to_none(furnished: House) -> None:
    doctor = furnished.login("doctor.b")

    for method in ("PUT", "DELETE"):
        hidden_one = doctor.request(
            method, "Observation/lab-1", json=observation("lab-1", "laboratory"),
            headers={"Content-Type": "application/fhir+json"},
        )  # fmt: skip
        absent = doctor.request(
            method, "Observation/absent", json=observation("absent", "laboratory"),
            headers={"Content-Type": "application/fhir+json"},
        )  # fmt: skip
        assert (hidden_one.status_code, hidden_one.content) == (absent.status_code, absent.content)
        assert hidden_one.status_code == 404


def test_how_much_is_hidden_makes_no_search_too_costly(move_in: MoveIn) -> None:
    answers = []
    for more in (0, 12):
        house = move_in("furnished", f"with {more}")
        house.share()
        close = restriction("close-lab", against="Organization/hospital-b", domain="laboratory")
        house.login("p.pat-1").store(close)
        for number in range(more):
            house.system("hospital-a").store(observation(f"hidden-{number}", "laboratory"))
        access = access_of(house, "doctor.b")
        for query in (
            [("_total", "accurate")], [("code", "718-7"), ("_summary", "count")],
            [("_sort", "code")], [("date", "ge2026"), ("_sort", "date")],
        ):  # fmt: skip
            page = search(
                house.gateway.store, access, "Observation", query, limits=SearchLimits("", 6)
            )
            answers.append((query, page.total, [one.id for one in page.matches]))

    assert answers[:4] == answers[4:]


def test_a_search_that_finds_more_than_is_counted_is_refused(furnished: House) -> None:
    store, limits = furnished.gateway.store, SearchLimits("", 2)

    with pytest.raises(TooCostly, match="2 matches at most"):
        search(
            store,
            access_of(furnished, "doctor.a"),
            "Observation",
            [("_sort", "code")],
            limits=limits,
        )


def access_of(house: House, login: str) -> Access:
    """Return the access of a member of the cast, for searches under other terms."""
    caller = house.gateway.verifier.authenticate(house.token(login), START_MS)
    return Access(caller.requester, START_MS, "request")
