"""References inside a transaction: whatever their form, they lead to the resources it makes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.lib.gateway import BASE, House, Session, must

ELSEWHERE = "http://elsewhere.org/fhir"
UUID = "urn:uuid:00000000-0000-4000-8000-{:012d}"


@pytest.fixture
def program(house: House) -> Session:
    """Return a session of the platform's own system."""
    return house.system("ehr-commons")


def organization(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "Organization", "name": "Made", **elements}


def part_of(reference: str) -> dict[str, Any]:
    return organization(partOf={"reference": reference})


def entry(full_url: str, resource: dict[str, Any], method: str = "POST", **more: Any) -> Any:
    url = resource["resourceType"]
    if method == "PUT":
        url += f"/{resource['id']}"
    request = {"method": method, "url": url, **more}
    return {"fullUrl": full_url, "resource": resource, "request": request}


def transaction(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def made(answer: Any) -> list[dict[str, Any]]:
    return [one["resource"] for one in must(answer).json()["entry"]]


def address(resource: dict[str, Any]) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


@pytest.mark.parametrize(
    ("full_url", "reference"),
    [
        (UUID.format(1), UUID.format(1)),
        ("urn:oid:1.2.3.4", "urn:oid:1.2.3.4"),
        (f"{ELSEWHERE}/Organization/1", f"{ELSEWHERE}/Organization/1"),
        (f"{ELSEWHERE}/Organization/1", f"{ELSEWHERE}/Organization/1/_history/3"),
        (f"{ELSEWHERE}/Organization/1", "Organization/1"),
        (f"{ELSEWHERE}/Organization/1", "Organization/1/_history/3"),
        (f"{BASE}/fhir/Organization/1", f"{BASE}/fhir/Organization/1"),
        (UUID.format(1), "Organization?identifier=http://n|made"),
        (UUID.format(1), f"{BASE}/fhir/Organization?identifier=http://n|made"),
    ],
)
def test_every_form_of_reference_leads_to_the_entry(
    program: Session, full_url: str, reference: str
) -> None:
    whole = organization(id="1", identifier=[{"system": "http://n", "value": "made"}])

    part, top = made(program.post("/fhir", transaction(
        entry(f"{ELSEWHERE}/Organization/2", part_of(reference)), entry(full_url, whole),
    )))  # fmt: skip

    assert top["id"] != "1"
    assert part["partOf"] == {"reference": address(top)}
    assert program.ids(f"Organization?partof={top['id']}") == [address(part)]


def test_entries_may_refer_to_each_other_in_a_circle_and_to_themselves(program: Session) -> None:
    names = [UUID.format(number) for number in range(3)]

    circle = made(program.post("/fhir", transaction(
        *(entry(names[at], part_of(names[(at + 1) % 3])) for at in range(3)),
        entry("urn:oid:1.2.3", part_of("urn:oid:1.2.3")),
    )))  # fmt: skip

    for at in range(3):
        assert circle[at]["partOf"]["reference"] == address(circle[(at + 1) % 3])
    assert circle[3]["partOf"]["reference"] == address(circle[3])


def test_references_by_search_may_lead_to_each_other_in_any_order(program: Session) -> None:
    def numbered(own: int, parent: str | None) -> dict[str, Any]:
        body = organization(identifier=[{"system": "http://n", "value": str(own)}])
        return body if parent is None else {**body, "partOf": {"reference": parent}}

    third, second, first = made(program.post("/fhir", transaction(
        entry(UUID.format(3), numbered(3, "Organization?identifier=http://n|2")),
        entry(UUID.format(2), numbered(2, "Organization?identifier=http://n|1")),
        entry(UUID.format(1), numbered(1, None)),
    )))  # fmt: skip

    assert third["partOf"]["reference"] == address(second)
    assert second["partOf"]["reference"] == address(first)


def test_references_to_conditional_entries_lead_to_what_is_found(program: Session) -> None:
    named = organization(identifier=[{"system": "http://n", "value": "there"}])
    there = must(program.post("Organization", named)).json()
    criteria = "identifier=http://n|there"
    updated = entry(UUID.format(3), named, "POST")
    updated["request"] = {"method": "PUT", "url": f"Organization?{criteria}"}

    by_create = made(program.post("/fhir", transaction(
        entry(UUID.format(1), part_of(UUID.format(2))),
        entry(UUID.format(2), named, ifNoneExist=criteria),
    )))  # fmt: skip
    by_update = made(program.post("/fhir", transaction(
        entry(UUID.format(1), part_of(UUID.format(3))), updated,
    )))  # fmt: skip

    assert by_create[0]["partOf"]["reference"] == address(there)
    assert by_update[0]["partOf"]["reference"] == address(there)


def test_attachments_narratives_and_uris_are_led_along(program: Session) -> None:
    binary, document = UUID.format(1), UUID.format(2)
    div = f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{binary}">scan</a></div>'
    resource = {
        "resourceType": "DocumentReference",
        "status": "current",
        "text": {"status": "generated", "div": div},
        "contained": [{"resourceType": "Organization", "id": "in", "name": "Inner"}],
        "custodian": {"reference": "#in"},
        "content": [{"attachment": {"contentType": "text/plain", "url": binary}}],
        "context": {"related": [{"reference": document}]},
        "extension": [{"url": "http://e", "valueUri": binary}],
        "identifier": [{"system": ELSEWHERE, "value": "kept"}],
    }
    scan = {"resourceType": "Binary", "contentType": "text/plain", "data": "AAAA"}

    stored, data = made(
        program.post("/fhir", transaction(entry(document, resource), entry(binary, scan)))
    )

    assert stored["content"][0]["attachment"]["url"] == address(data)
    assert f'href="{address(data)}"' in stored["text"]["div"]
    assert stored["extension"][0]["valueUri"] == address(data)
    assert stored["context"]["related"][0]["reference"] == address(stored)
    assert stored["custodian"]["reference"] == "#in"
    assert stored["identifier"] == [{"system": ELSEWHERE, "value": "kept"}]


def named_by_itself(name: str) -> dict[str, Any]:
    """Return a document whose texts and numbers are spelt as its fullUrl is."""
    number = {"system": "urn:ietf:rfc:3986", "value": name}
    return {
        "resourceType": "DocumentReference",
        "status": "current",
        "masterIdentifier": number,
        "identifier": [number],
        "description": name,
        "type": {"coding": [{"system": name, "code": name}], "text": name},
        "content": [
            {"attachment": {"contentType": "text/plain", "title": name, "url": "http://e"}}
        ],
        "extension": [
            {"url": "http://e/s", "valueString": name},
            {"url": "http://e/m", "valueMarkdown": name},
            {"url": "http://e/c", "valueCanonical": name},
            {"url": "http://e/u", "valueUuid": name},
        ],
    }


@pytest.mark.parametrize("kind", ["transaction", "batch"])
def test_what_is_only_spelt_as_an_entrys_name_stays(program: Session, kind: str) -> None:
    name = UUID.format(1)
    sent = named_by_itself(name)
    criteria = f"identifier=urn:ietf:rfc:3986|{name}"

    def send() -> Any:
        posted = entry(name, sent, ifNoneExist=criteria)
        body = {"resourceType": "Bundle", "type": kind, "entry": [posted]}
        return must(program.post("/fhir", body)).json()["entry"][0]

    first, second = send(), send()

    stored = {key: first["resource"][key] for key in sent}
    assert stored == sent
    assert [first["response"]["status"][:3], second["response"]["status"][:3]] == ["201", "200"]
    assert program.ids(f"DocumentReference?{criteria}") == [address(first["resource"])]


def test_a_definitions_own_url_stays_though_it_is_the_fullurl(program: Session) -> None:
    url = "http://elsewhere.org/fhir/ValueSet/colours"
    value_set = {"resourceType": "ValueSet", "status": "active", "url": url}
    asked = {
        "resourceType": "Questionnaire", "status": "active",
        "item": [{"linkId": "1", "type": "choice", "answerValueSet": url}],
    }  # fmt: skip

    stored, question = made(
        program.post("/fhir", transaction(entry(url, value_set), entry(UUID.format(1), asked)))
    )

    assert stored["url"] == url
    assert question["item"][0]["answerValueSet"] == url


def test_a_container_in_a_transaction_stays_as_it_is(program: Session) -> None:
    name = UUID.format(1)
    held = {"resourceType": "Organization", "id": "1", "partOf": {"reference": name}}
    bundle = {
        "resourceType": "Bundle", "type": "collection",
        "entry": [{"fullUrl": name, "resource": held}],
    }  # fmt: skip
    parameters = {
        "resourceType": "Parameters",
        "parameter": [{"name": "a", "valueReference": {"reference": name}}],
    }

    _, first, second = made(program.post("/fhir", transaction(
        entry(name, organization()), entry(UUID.format(2), bundle),
        entry(UUID.format(3), parameters),
    )))  # fmt: skip

    assert {key: first[key] for key in bundle} == bundle
    assert {key: second[key] for key in parameters} == parameters


@pytest.mark.parametrize(
    "reference",
    [
        UUID.format(9),
        "Organization/nobody",
        f"{BASE}/fhir/Organization/nobody",
        "Organization?identifier=http://n|nobody",
        "#nothing",
    ],
)
def test_one_reference_to_nothing_stops_the_whole_transaction(
    program: Session, reference: str
) -> None:
    answer = program.post("/fhir", transaction(
        entry(UUID.format(1), organization()), entry(UUID.format(2), part_of(reference)),
    ))  # fmt: skip

    assert answer.status_code == 422, answer.text
    place = "Bundle.entry[1].resource.partOf.reference"
    assert answer.json()["issue"][0]["expression"] == [place]
    assert program.ids("Organization") == []


def test_a_reference_to_this_server_is_kept_as_a_relative_one(program: Session) -> None:
    top = must(program.post("Organization", organization())).json()

    part = must(program.post("Organization", part_of(f"{BASE}/fhir/{address(top)}"))).json()

    assert part["partOf"]["reference"] == address(top)
    assert program.ids(f"Organization?partof={top['id']}") == [address(part)]


@pytest.mark.parametrize(
    "criteria",
    [
        "organization.name=East",
        "organization%2Ename=East",
        '_filter=organization.name eq "East"',
    ],
)
def test_what_found_nothing_is_asked_again_when_it_looks_at_other_types(
    program: Session, criteria: str
) -> None:
    for name in ("top", "part"):
        must(program.put(organization(id=name, name=name)))
    place = {"resourceType": "Location", "name": "Ward"}
    managed = {"reference": "Organization/part"}
    must(program.put({**place, "id": "ward", "managingOrganization": managed}))
    # It is written first, while nothing is called so.
    bed = {**place, "partOf": {"reference": f"Location?{criteria}"}}
    east = organization(id="part", name="East", partOf={"reference": "Organization?name=top"})

    answer = program.post(
        "/fhir", transaction(entry(UUID.format(1), bed), entry(UUID.format(2), east, "PUT"))
    )

    assert made(answer)[0]["partOf"]["reference"] == "Location/ward"


def test_five_thousand_entries_of_every_kind_take_seconds(program: Session) -> None:
    number = 5000
    names = [UUID.format(at) for at in range(number)]
    top = organization(id="top", identifier=[{"system": "http://n", "value": "top"}])
    others = [f"{ELSEWHERE}/Organization/top", "Organization?identifier=http://n|top"]
    entries = []
    for at in range(number):
        forms = [names[(at + 1) % number], names[at], *others]
        entries.append(entry(names[at], part_of(forms[at % 4])))
    entries.append(entry(f"{ELSEWHERE}/Organization/top", top))
    begun = time.process_time()

    resources = made(program.post("/fhir", transaction(*entries)))

    assert time.process_time() - begun < 60
    assert len(resources) == number + 1
    for at in range(0, number, 4):
        assert resources[at]["partOf"]["reference"] == address(resources[(at + 1) % number])
    wanted = {address(resources[-1])}
    assert {one["partOf"]["reference"] for one in resources[3:number:4]} == wanted
    assert must(program.get("Organization?_summary=count")).json()["total"] == number + 1
