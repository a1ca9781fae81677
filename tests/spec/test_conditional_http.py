"""Conditional interactions over HTTP: criteria in the place of an id, alone and in Bundles."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from tests.lib.gateway import BASE, House, Session, must, observation, organization
from tests.lib.patches import operation

FHIR_JSON = {"Content-Type": "application/fhir+json"}
RENAME = operation("replace", "Organization.name", value=("String", "New"))
PATCH = {"resourceType": "Parameters", "parameter": [RENAME]}


@pytest.fixture
def program(house: House) -> Session:
    """Return a session of the platform's own system, with two organisations stored."""
    session = house.system("ehr-commons")
    must(session.put(numbered("org-1", "1")))
    must(session.put(numbered("org-2", "2")))
    return session


def numbered(name: str, value: str) -> dict[str, Any]:
    return {**organization(name), "identifier": [{"system": "http://n", "value": value}]}


def unnamed(value: str, name: str = "Changed") -> dict[str, Any]:
    return {"resourceType": "Organization", "name": name,
            "identifier": [{"system": "http://n", "value": value}]}  # fmt: skip


def send(session: Session, method: str, criteria: str, body: Any = None, **headers: str) -> Any:
    options = {} if body is None else {"json": body}
    named = {**FHIR_JSON, **headers}
    return session.request(method, f"Organization?{criteria}", headers=named, **options)


def entry(method: str, url: str, resource: Any = None, **request: str) -> dict[str, Any]:
    found: dict[str, Any] = {"request": {"method": method, "url": url, **request}}
    return found if resource is None else {**found, "resource": resource}


def bundle(kind: str, *entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def statuses(answer: Any) -> list[str]:
    return [one["response"]["status"][:3] for one in must(answer).json()["entry"]]


def test_a_conditional_update_writes_the_one_match(program: Session) -> None:
    for body in (unnamed("1"), {**unnamed("1"), "id": "org-1"}):
        answer = send(program, "PUT", "identifier=http://n|1", body)
        assert (answer.status_code, answer.json()["id"]) == (200, "org-1")

    assert program.get("Organization/org-1").headers["etag"] == 'W/"3"'
    assert program.get("Organization/org-2").headers["etag"] == 'W/"1"'


def test_a_conditional_update_without_a_match_makes_one(program: Session) -> None:
    made = send(program, "PUT", "identifier=http://n|3", unnamed("3"))
    again = send(program, "PUT", "identifier=http://n|3", unnamed("3"))
    named = send(program, "PUT", "identifier=http://n|4", numbered("org-4", "4"))

    assert (made.status_code, again.status_code, named.status_code) == (201, 200, 201)
    assert made.headers["location"].endswith(f"{made.json()['id']}/_history/1")
    assert again.json()["id"] == made.json()["id"]
    assert named.json()["id"] == "org-4"


@pytest.mark.parametrize(
    ("criteria", "body", "headers", "status"),
    [
        ("identifier=http://n|", unnamed("1"), {}, 412),
        ("identifier=http://n|1", numbered("org-2", "1"), {}, 400),
        ("identifier=http://n|9", numbered("org-2", "9"), {}, 409),
        ("identifier=http://n|1", unnamed("1"), {"If-Match": 'W/"9"'}, 412),
        ("identifier=http://n|9", unnamed("9"), {"If-Match": 'W/"1"'}, 412),
        ("_count=1", unnamed("1"), {}, 412),
        ("colour=red", unnamed("1"), {}, 400),
        ("_lastUpdated=yesterday", unnamed("1"), {}, 400),
        ("", unnamed("1"), {}, 405),
    ],
)
def test_a_conditional_update_that_is_not_clear_is_refused(
    program: Session, criteria: str, body: Any, headers: dict[str, str], status: int
) -> None:
    answer = send(program, "PUT", criteria, body, **headers)

    assert answer.status_code == status, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    for name in ("org-1", "org-2"):
        assert program.get(f"Organization/{name}").headers["etag"] == 'W/"1"'


def test_a_conditional_delete_takes_one_match_and_refuses_several(program: Session) -> None:
    several = send(program, "DELETE", "identifier=http://n|")
    stale = send(program, "DELETE", "identifier=http://n|1", **{"If-Match": 'W/"7"'})
    one = send(program, "DELETE", "identifier=http://n|1")
    none = send(program, "DELETE", "identifier=http://n|1")
    empty = send(program, "DELETE", "_count=5")

    found = (several, stale, one, none, empty)
    assert [answer.status_code for answer in found] == [412, 412, 204, 204, 412]
    assert program.ids("Organization") == ["Organization/org-2"]


def test_a_conditional_patch_changes_the_one_match(program: Session) -> None:
    one = send(program, "PATCH", "identifier=http://n|1", PATCH)
    several = send(program, "PATCH", "identifier=http://n|", PATCH)
    none = send(program, "PATCH", "identifier=http://n|9", PATCH)

    assert (one.status_code, several.status_code, none.status_code) == (200, 412, 404)
    assert (one.json()["id"], one.json()["name"]) == ("org-1", "New")
    assert program.get("Organization/org-2").headers["etag"] == 'W/"1"'


def test_conditional_writes_in_a_batch_stand_each_for_itself(program: Session) -> None:
    data = b64encode(b'[{"op":"replace","path":"/name","value":"New"}]').decode()
    binary = {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": data}
    answer = program.post("/fhir", bundle(
        "batch",
        entry("PUT", "Organization?identifier=http://n|1", unnamed("1")),
        entry("PUT", "Organization?identifier=http://n|3", unnamed("3")),
        entry("PUT", "Organization?identifier=http://n|3", unnamed("3")),
        entry("PATCH", "Organization?identifier=http://n|2", binary),
        entry("PATCH", "Organization?identifier=http://n|9", binary),
        entry("DELETE", "Organization?identifier=http://n|"),
        entry("DELETE", "Organization?identifier=http://n|9"),
        entry("DELETE", "Organization?identifier=http://n|1"),
        entry("POST", "Organization", unnamed("2"), ifNoneExist="identifier=http://n|2"),
        entry("POST", "Organization", unnamed("5"), ifNoneExist="?identifier=http%3A%2F%2Fn%7C5"),
    ))  # fmt: skip

    expected = ["200", "201", "200", "200", "404", "412", "204", "204", "200", "201"]
    assert statuses(answer) == expected


def test_a_transaction_asks_its_criteria_first_and_keeps_the_order(program: Session) -> None:
    # The DELETE comes first whatever its place; the criteria saw the store before any of it.
    answer = program.post("/fhir", bundle(
        "transaction",
        entry("GET", "Organization?identifier=http://n|3"),
        {**entry("PUT", "Organization?identifier=http://n|3", unnamed("3")),
         "fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000003"},
        {**entry("POST", "Organization", {
            **unnamed("4"), "partOf": {"reference": "urn:uuid:00000000-0000-4000-8000-000000000003"}
        })},
        entry("DELETE", "Organization?identifier=http://n|1"),
        entry("DELETE", "Organization?identifier=http://n|9"),
        entry("PATCH", "Organization?identifier=http://n|2", PATCH),
    ))  # fmt: skip

    entries = must(answer).json()["entry"]
    assert statuses(answer) == ["200", "201", "201", "204", "204", "200"]
    made = entries[1]["resource"]["id"]
    assert entries[0]["resource"]["entry"][0]["resource"]["id"] == made
    assert entries[2]["resource"]["partOf"] == {"reference": f"Organization/{made}"}
    assert program.get("Organization/org-1").status_code == 410
    assert program.get("Organization/org-2").json()["name"] == "New"


@pytest.mark.parametrize(
    "entries",
    [
        (
            entry("PUT", "Organization?identifier=http://n|1", unnamed("1")),
            entry("DELETE", "Organization/org-1"),
        ),
        (
            entry("PATCH", "Organization?identifier=http://n|1", PATCH),
            entry("PUT", "Organization/org-1", numbered("org-1", "1")),
        ),
        (
            entry("POST", "Organization", unnamed("3"), ifNoneExist="identifier=http://n|3"),
            entry("POST", "Organization", unnamed("3"), ifNoneExist="identifier=http://n|3"),
        ),
        (
            entry("PUT", "Organization?identifier=http://n|3", unnamed("3")),
            entry("POST", "Organization", unnamed("3"), ifNoneExist="identifier=http://n|3"),
        ),
        (
            entry("POST", "Organization", unnamed("1"), ifNoneExist="identifier=http://n|1"),
            entry("DELETE", "Organization/org-1"),
        ),
        (
            entry("POST", "Organization", unnamed("3")),
            entry("PUT", "Organization?identifier=http://n|", unnamed("1")),
        ),
        (
            entry("POST", "Organization", unnamed("3")),
            entry("PATCH", "Organization?identifier=http://n|9", PATCH),
        ),
        (
            entry("POST", "Organization", unnamed("3")),
            entry("DELETE", "Organization?identifier=http://n|"),
        ),
    ],
)
def test_a_transaction_whose_entries_clash_writes_nothing_and_names_the_entry(
    program: Session, entries: tuple[dict[str, Any], ...]
) -> None:
    answer = program.post("/fhir", bundle("transaction", *entries))

    assert answer.status_code in (400, 404, 412), answer.text
    assert answer.json()["issue"][0]["expression"][0].startswith("Bundle.entry[1]")
    assert program.get("Organization?_summary=count").json()["total"] == 2


def test_a_hidden_match_is_none(furnished: House) -> None:
    """The same requests beside a hidden match and beside none at all: the answers are alike."""
    doctor = furnished.login("doctor.b")
    body = {**observation("x", "laboratory"), "note": [{"text": "new"}]}
    del body["id"]
    seen = []
    for code in ("_id=lab-1", "_id=absent"):
        step = operation("delete", "Observation.note")
        patch = {"resourceType": "Parameters", "parameter": [step]}
        answers = [
            doctor.request("DELETE", f"Observation?{code}"),
            doctor.request("PATCH", f"Observation?{code}", json=patch, headers=FHIR_JSON),
            doctor.request("PUT", f"Observation?{code}", json=body, headers=FHIR_JSON),
            doctor.post("Observation", body, headers={"If-None-Exist": code}),
            doctor.post("/fhir", bundle(
                "batch",
                entry("DELETE", f"Observation?{code}"),
                entry("PATCH", f"Observation?{code}", patch),
            )),
        ]  # fmt: skip
        for answer in answers:
            content = answer.content
            if answer.status_code == 201:
                content = content.replace(json.dumps(answer.json()["id"]).encode(), b"id")
            seen.append((answer.status_code, content))

    half = len(seen) // 2
    assert seen[:half] == seen[half:]
    assert [status for status, _ in seen[:half]] == [204, 404, 201, 201, 200]
    assert furnished.system("hospital-a").get("Observation/lab-1").headers["etag"] == 'W/"1"'


def test_criteria_find_only_what_may_be_searched(furnished: House) -> None:
    reader = furnished.system("hospital-a", "system/Observation.crud")
    answer = reader.request("DELETE", "Observation?_id=lab-1")

    assert answer.status_code == 403
    assert reader.get("Observation/lab-1").status_code == 200


@pytest.mark.parametrize("criteria", ["name:exact=陳", "name:exact=%E9%99%B3", "name:exact=Zoë"])
def test_criteria_in_a_header_are_utf_8(furnished: House, criteria: str) -> None:
    platform = furnished.system("ehr-commons")
    name = "Zoë" if "Zo" in criteria else "陳"
    body = {"resourceType": "Organization", "name": name}
    headers = {"Content-Type": "application/fhir+json", "If-None-Exist": criteria.encode()}

    statuses = [
        platform.request("POST", "Organization", json=body, headers=headers).status_code
        for _ in range(2)
    ]

    assert statuses == [201, 200]
    entry = {
        "resource": body,
        "request": {"method": "POST", "url": "Organization", "ifNoneExist": criteria},
    }
    for kind in ("batch", "transaction"):
        bundle = {"resourceType": "Bundle", "type": kind, "entry": [entry]}
        answer = must(platform.post("", bundle)).json()["entry"][0]
        assert answer["response"]["status"] == "200 OK"


@pytest.mark.parametrize("criteria", [b"name:exact=\xe9", b"name=%E9", b"name=\xff\xfe", b"\xc3"])
def test_criteria_in_another_charset_are_refused(furnished: House, criteria: bytes) -> None:
    platform = furnished.system("ehr-commons")
    body = {"resourceType": "Organization", "name": "é"}

    async def send() -> httpx.Response:
        # The test client would send the header as UTF-8.
        transport = httpx.ASGITransport(app=furnished.app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            raw = [(name.encode(), value.encode()) for name, value in platform.headers.items()]
            raw += [(b"Content-Type", b"application/fhir+json"), (b"If-None-Exist", criteria)]
            return await client.post("/fhir/Organization", json=body, headers=raw)

    # On a thread of its own: the browser's tests leave a loop running on this one.
    with start_blocking_portal() as loop:
        answer = loop.call(send)

    assert answer.status_code == 400
    assert platform.get("Organization?name:exact=é&_summary=count").json()["total"] == 0


def test_criteria_in_two_headers_are_refused(furnished: House) -> None:
    platform = furnished.system("ehr-commons")
    headers = [("Content-Type", "application/fhir+json"), ("If-None-Exist", "name=a"),
               ("If-None-Exist", "name=b"), *platform.headers.items()]  # fmt: skip

    answer = furnished.client.request(
        "POST",
        "/fhir/Organization",
        json={"resourceType": "Organization", "name": "x"},
        headers=headers,
    )

    assert answer.status_code == 400
