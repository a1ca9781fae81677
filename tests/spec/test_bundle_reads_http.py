"""What the entries of a Bundle may read, and conditions on reads and on writes that only make."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.lib.gateway import BASE, House, Session, must, organization


@pytest.fixture
def program(house: House) -> Session:
    """Return a session of the platform's own system, with an organisation of two versions."""
    session = house.system("ehr-commons")
    must(session.put(organization("org-1")))
    must(session.put({**organization("org-1"), "name": "Second"}))
    return session


def asked(kind: str, *requests: dict[str, Any]) -> dict[str, Any]:
    entries = [{"request": {"method": "GET", **request}} for request in requests]
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


def answers(program: Session, kind: str, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = must(program.post("/fhir", asked(kind, *requests))).json()[
        "entry"
    ]
    return found


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_histories_are_read_at_three_levels(program: Session, kind: str) -> None:
    found = answers(
        program, kind,
        {"url": "Organization/org-1/_history?_count=1"},
        {"url": "Organization/_history"},
        {"url": "_history?_count=1"},
        {"url": "Organization/org-1/_history/1"},
    )  # fmt: skip

    instance, of_type, system, version = [one["resource"] for one in found]
    assert [one["type"] for one in (instance, of_type, system)] == ["history"] * 3
    assert (instance["total"], len(instance["entry"]), len(of_type["entry"])) == (2, 1, 2)
    following = {link["relation"]: link["url"] for link in instance["link"]}["next"]
    rest = must(program.get(following)).json()
    assert [one["resource"]["meta"]["versionId"] for one in rest["entry"]] == ["1"]
    assert version["name"] == "Org-1"


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_compartments_and_several_types_are_searched(furnished: House, kind: str) -> None:
    doctor = furnished.login("doctor.a")

    found = answers(
        doctor, kind,
        {"url": "Patient/pat-1/Observation?_count=1"},
        {"url": "Patient/pat-1/*?_type=Condition,Encounter"},
        {"url": "?_type=Condition,Organization"},
    )  # fmt: skip

    ids = [
        [one["resource"]["id"] for one in answer["resource"].get("entry", [])] for answer in found
    ]
    assert (len(ids[0]), ids[1]) == (1, ["con-1", "enc-1"])
    assert ids[2] == ["con-1", "hospital-a", "hospital-b"]
    following = {link["relation"]: link["url"] for link in found[0]["resource"]["link"]}["next"]
    assert len(must(doctor.get(following)).json()["entry"]) == 1


def test_lenient_handling_holds_for_the_searches_of_a_bundle(program: Session) -> None:
    bundle = asked("batch", {"url": "Organization?colour=red"})

    strict = must(program.post("/fhir", bundle)).json()["entry"][0]
    lenient = must(program.post("/fhir", bundle, headers={"Prefer": "handling=lenient"})).json()

    assert strict["response"]["status"] == "400 Bad Request"
    page = lenient["entry"][0]["resource"]["entry"]
    assert [one["search"]["mode"] for one in page] == ["match", "outcome"]


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_head_gives_the_head_alone(program: Session, kind: str) -> None:
    found = answers(
        program, kind,
        {"method": "HEAD", "url": "Organization/org-1"},
        {"method": "HEAD", "url": "Organization?name=second"},
    )  # fmt: skip

    assert [one["response"]["status"] for one in found] == ["200 OK", "200 OK"]
    assert found[0]["response"]["etag"] == 'W/"2"'
    assert not any("resource" in one for one in found)


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"ifNoneMatch": 'W/"2"'}, "304 Not Modified"),
        ({"ifNoneMatch": 'W/"1", W/"2"'}, "304 Not Modified"),
        ({"ifNoneMatch": 'W/"1"'}, "200 OK"),
        ({"ifModifiedSince": "2030-01-01T00:00:00Z"}, "304 Not Modified"),
        ({"ifModifiedSince": "2020-01-01T00:00:00Z"}, "200 OK"),
        # The tag goes before the date (RFC 9110 §13.2.2).
        ({"ifNoneMatch": 'W/"1"', "ifModifiedSince": "2030-01-01T00:00:00Z"}, "200 OK"),
    ],
)
def test_a_conditional_read_answers_304_to_who_has_the_version(
    program: Session, condition: dict[str, str], status: str
) -> None:
    (found,) = answers(program, "batch", {"url": "Organization/org-1", **condition})

    assert found["response"]["status"] == status
    assert ("resource" in found) == (status == "200 OK")


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        ({"url": "Organization/org-1/_history/x"}, "Bundle.entry[0].request.url"),
        ({"url": "Nothing/1"}, "Bundle.entry[0].request.url"),
        ({"url": "Organization/a b"}, "Bundle.entry[0].request.url"),
        ({"url": "Organization?name=%ff"}, "Bundle.entry[0].request.url"),
        ({"url": "Organization/org-1", "ifModifiedSince": "now"},
         "Bundle.entry[0].request.ifModifiedSince"),
        ({"url": "Organization/org-1", "ifNoneMatch": 3}, "Bundle.entry[0].request.ifNoneMatch"),
        ({"url": 3}, "Bundle.entry[0].request.url"),
    ],
)  # fmt: skip
def test_a_malformed_read_names_its_place(
    program: Session, request_: dict[str, Any], place: str
) -> None:
    (found,) = answers(program, "batch", request_)

    assert found["response"]["status"] == "400 Bad Request"
    assert found["response"]["outcome"]["issue"][0]["expression"] == [place]


def test_if_none_match_of_any_makes_and_never_changes(program: Session) -> None:
    star = {"If-None-Match": "*"}
    body = organization("org-2")

    made = program.put(body, headers=star)
    again = program.put({**body, "name": "Other"}, headers=star)
    must(program.delete("Organization/org-2"))
    anew = program.put(body, headers=star)
    odd = program.put(body, headers={"If-None-Match": 'W/"1"'})

    statuses = [answer.status_code for answer in (made, again, anew, odd)]
    assert statuses == [201, 412, 200, 412]
    assert again.json()["resourceType"] == "OperationOutcome"


def test_if_none_match_holds_in_bundles_too(program: Session) -> None:
    def only_new(name: str) -> dict[str, Any]:
        request = {"method": "PUT", "url": f"Organization/{name}", "ifNoneMatch": "*"}
        return {"request": request, "resource": organization(name)}

    batch = {"resourceType": "Bundle", "type": "batch",
             "entry": [only_new("org-1"), only_new("org-3")]}  # fmt: skip

    found = must(program.post("/fhir", batch)).json()["entry"]
    refused = program.post("/fhir", {**batch, "type": "transaction"})

    assert [one["response"]["status"][:3] for one in found] == ["412", "201"]
    assert refused.status_code == 412
    assert refused.json()["issue"][0]["expression"] == ["Bundle.entry[0]"]


@pytest.mark.parametrize(
    ("asked_for", "status"),
    [
        ("application/fhir+json; fhirVersion=4.0", 200),
        ("application/fhir+json; fhirVersion=5.0", 406),
        ("application/fhir+xml, application/fhir+json;q=0.5", 200),
        ("application/fhir+json;q=0, application/fhir+xml", 406),
        ("application/fhir+xml", 406),
        ("", 200),
    ],
)
def test_the_format_is_r4_json_or_none(program: Session, asked_for: str, status: int) -> None:
    answer = program.get("Organization/org-1", headers={"Accept": asked_for})

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("asked_for", "status"),
    [("json", 200), ("application/json", 200), ("application/fhir%2Bjson", 200),
     ("application/fhir+json", 200), ("text/json", 200), ("xml", 406), ("text/xml", 406),
     ("application/fhir%2Bjson;fhirVersion=3.0", 406), ("ttl", 406), ("", 406)],
)  # fmt: skip
def test_the_format_parameter_goes_before_the_header(
    program: Session, asked_for: str, status: int
) -> None:
    headers = {"Accept": "application/fhir+xml" if status == 200 else "application/json"}

    answer = program.get(f"Organization/org-1?_format={asked_for}", headers=headers)

    assert answer.status_code == status


BASE_FORMS = ["{}", "/{}", "/fhir/{}", f"{BASE}/fhir/{{}}", "HTTP://TestServer/fhir/{}"]


@pytest.mark.parametrize("kind", ["batch", "transaction"])
@pytest.mark.parametrize("form", BASE_FORMS)
def test_every_kind_of_entry_takes_every_form_of_its_url(
    program: Session, kind: str, form: str
) -> None:
    must(program.put(organization("org-2")))
    named = {**organization("org-4"), "name": "Four"}
    add = [{"op": "add", "path": "/alias", "value": ["Patched"]}]
    patch = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": base64.b64encode(json.dumps(add).encode()).decode(),
    }
    writes: list[tuple[str, str, dict[str, Any] | None]] = [
        ("DELETE", "Organization/org-2", None),
        ("DELETE", "Organization?name=nobody", None),
        ("POST", "Organization", organization("made")),
        ("PUT", "Organization/org-3", organization("org-3")),
        ("PUT", "Organization?name=Four", named),
        ("PATCH", "Organization/org-1", patch),
    ]
    reads = [
        "Organization/org-1", "Organization/org-1/_history/1", "Organization/org-1/_history",
        "Organization?name=Second", "?_type=Organization", "_history?_count=1", "metadata",
        "Organization?_id=org-1&_count=1",
    ]  # fmt: skip
    entries: list[dict[str, Any]] = [
        {
            "request": {"method": method, "url": form.format(url)},
            **({"resource": resource} if resource else {}),
        }
        for method, url, resource in writes
    ]
    entries += [{"request": {"method": "GET", "url": form.format(url)}} for url in reads]
    entries.append({"request": {"method": "HEAD", "url": form.format("Organization/org-1")}})
    bundle = {"resourceType": "Bundle", "type": kind, "entry": entries}

    found = must(program.post("/fhir", bundle)).json()["entry"]

    statuses = [one["response"]["status"][:3] for one in found]
    assert statuses == ["204", "204", "201", "201", "201", "200", *["200"] * 9]
    resources = [one["resource"] for one in found[len(writes) : -1]]
    expected = ["Organization"] * 2 + ["Bundle"] * 4 + ["CapabilityStatement", "Bundle"]
    assert [one["resourceType"] for one in resources] == expected[:2] + expected[2:]
    assert resources[0]["alias"] == ["Patched"]


@pytest.mark.parametrize(
    "url",
    [
        "http://elsewhere.org/fhir/Organization",
        f"{BASE}/Organization",
        f"{BASE}.evil.org/fhir/Organization",
    ],
)
def test_another_servers_address_is_none_of_ours(program: Session, url: str) -> None:
    entry = {"request": {"method": "POST", "url": url}, "resource": organization("x")}
    read = {"request": {"method": "GET", "url": url}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry, read]}

    found = must(program.post("/fhir", bundle)).json()["entry"]

    assert [one["response"]["status"][:3] for one in found] == ["400", "400"]


@pytest.mark.parametrize("form", BASE_FORMS)
@pytest.mark.parametrize("url", ["AuditEvent", "AuditEvent?_count=1", "AuditEvent/1"])
def test_the_audit_log_is_refused_in_a_bundle_in_every_form(
    program: Session, form: str, url: str
) -> None:
    answer = program.post("/fhir", asked("batch", {"url": form.format(url)}))

    assert answer.status_code == 422


def test_the_capabilities_are_read_in_a_bundle_as_alone(program: Session) -> None:
    alone = must(program.get("metadata")).json()

    inside = answers(program, "batch", {"url": "metadata"}, {"url": "metadata?mode=full"})

    assert [one["resource"] for one in inside] == [alone, alone]
