"""FHIR's RESTful API as a client meets it: R4 §3.1.0, §3.1.1, and what is refused how."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.validation.validate import validate
from ehr_gateway.app import ROUTERS
from ehr_gateway.routes.table import FHIR_ROUTES
from tests.lib.gateway import BASE, House, Session, must, observation, organization

FHIR_JSON = "application/fhir+json"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def program(house: House) -> Session:
    """Return a session of the platform's own system, for which directory entries suffice."""
    return house.system("ehr-commons")


def issue(answer: Any) -> dict[str, Any]:
    assert answer.headers["content-type"] == FHIR_JSON, answer.text
    outcome = answer.json()
    assert outcome["resourceType"] == "OperationOutcome"
    found: dict[str, Any] = outcome["issue"][0]
    return found


def test_a_create_answers_with_place_version_and_resource(program: Session) -> None:
    answer = program.post("Organization", {"resourceType": "Organization", "name": "New"})

    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{BASE}/fhir/Organization/{body['id']}/_history/1"
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["last-modified"] == "Sun, 22 Nov 2026 08:00:00 GMT"
    assert body["meta"] == {
        "versionId": "1",
        "lastUpdated": "2026-11-22T08:00:00.000Z",
        "source": "https://ehr-commons.hk/organization/ehr-commons",
    }


def test_an_update_makes_the_next_version_and_the_first_when_there_is_none(
    program: Session,
) -> None:
    first = program.put(organization("org-1"))
    second = program.put({**organization("org-1"), "name": "Changed"})

    assert (first.status_code, first.headers["etag"]) == (201, 'W/"1"')
    assert (second.status_code, second.headers["etag"]) == (200, 'W/"2"')
    assert program.get("Organization/org-1").json()["name"] == "Changed"
    assert program.get("Organization/org-1/_history/1").json()["name"] == "Org-1"


def test_if_match_guards_against_a_lost_update(program: Session) -> None:
    must(program.put(organization("org-1")))

    stale = program.put(organization("org-1"), headers={"If-Match": 'W/"7"'})
    fresh = program.put(organization("org-1"), headers={"If-Match": 'W/"1"'})
    odd = program.put(organization("org-1"), headers={"If-Match": "seven"})

    assert (stale.status_code, fresh.status_code, odd.status_code) == (412, 200, 412)
    assert issue(stale)["code"] == "conflict"


def test_a_delete_is_gone_and_its_history_stays(program: Session) -> None:
    must(program.put(organization("org-1")))

    deleted = program.delete("Organization/org-1")

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert program.get("Organization/org-1").status_code == 410
    assert program.get("Organization/org-1/_history/1").status_code == 200
    assert program.ids("Organization") == []
    history = must(program.get("Organization/org-1/_history")).json()
    assert [entry["request"]["method"] for entry in history["entry"]] == ["DELETE", "PUT"]
    assert "resource" not in history["entry"][0]


def test_a_history_has_every_version_newest_first_in_pages(program: Session) -> None:
    for name in "abcde":
        must(program.put({**organization("org-1"), "name": name}))

    address: str | None = "Organization/org-1/_history?_count=2"
    names: list[str] = []
    while address:
        page = must(program.get(address)).json()
        assert (page["type"], page["total"]) == ("history", 5)
        names += [entry["resource"]["name"] for entry in page["entry"]]
        address = next((one["url"] for one in page["link"] if one["relation"] == "next"), None)

    assert names == ["e", "d", "c", "b", "a"]


def test_the_stored_bytes_are_the_served_bytes(program: Session) -> None:
    must(program.put(organization("org-1")))

    read = program.get("Organization/org-1").content

    assert program.get("Organization/org-1/_history/1").content == read
    assert read in program.get("Organization").content


def test_a_client_that_has_the_version_is_told_so(program: Session) -> None:
    must(program.put(organization("org-1")))

    for headers in (
        {"If-None-Match": 'W/"1"'},
        {"If-None-Match": '"1", "9"'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": "Sun, 22 Nov 2026 08:00:00 GMT"},
    ):
        answer = program.get("Organization/org-1", headers=headers)
        assert (answer.status_code, answer.content) == (304, b""), headers
    for headers in (
        {"If-None-Match": 'W/"2"'},
        {"If-Modified-Since": "Sun, 22 Nov 2026 07:59:59 GMT"},
        {"If-Modified-Since": "some day"},
    ):
        assert program.get("Organization/org-1", headers=headers).status_code == 200, headers


@pytest.mark.parametrize(
    ("prefer", "kind"),
    [
        ("return=minimal", None),
        ("return=representation", "Organization"),
        ("return=OperationOutcome", "OperationOutcome"),
        ("handling=lenient, return=OperationOutcome", "OperationOutcome"),
    ],
)
def test_prefer_decides_what_a_write_answers(
    program: Session, prefer: str, kind: str | None
) -> None:
    answer = must(program.put(organization("org-1"), headers={"Prefer": prefer}))

    assert (answer.json()["resourceType"] if answer.content else None) == kind


def test_prefer_decides_what_a_delete_answers(program: Session) -> None:
    for prefer, status in (("minimal", 204), ("representation", 204), ("OperationOutcome", 200)):
        must(program.put(organization("org-1")))
        headers = {"Prefer": f"return={prefer}"}
        answer = program.delete("Organization/org-1", headers=headers)
        again = program.delete("Organization?name=org", headers=headers)

        assert (answer.status_code, again.status_code) == (status, status)
        if status == 200:
            assert answer.json()["resourceType"] == again.json()["resourceType"]


@pytest.mark.parametrize("prefer", ["minimal", "representation", "OperationOutcome"])
def test_prefer_holds_for_every_write_in_a_bundle(program: Session, prefer: str) -> None:
    must(program.put(organization("org-1")))
    must(program.put(organization("org-2")))
    entries = [
        {"request": {"method": "PUT", "url": "Organization/org-1"},
         "resource": organization("org-1")},
        {"request": {"method": "POST", "url": "Organization"},
         "resource": {"resourceType": "Organization", "name": "New"}},
        {"request": {"method": "DELETE", "url": "Organization/org-2"}},
        {"request": {"method": "GET", "url": "Organization/org-1"}},
    ]  # fmt: skip
    body = {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    answer = must(program.post("/fhir", body, headers={"Prefer": f"return={prefer}"})).json()

    whole = prefer == "representation"
    assert ["resource" in one for one in answer["entry"]] == [whole, whole, False, True]
    told = prefer == "OperationOutcome"
    assert ["outcome" in one["response"] for one in answer["entry"]] == [told, told, told, False]


HEADS = (
    "metadata", ".well-known/smart-configuration", "Organization", "Organization/org-1",
    "Organization/org-1/_history", "Organization/org-1/_history/1", "Organization/_history",
    "_history", "Organization/none", "AuditEvent",
)  # fmt: skip


@pytest.mark.parametrize("address", HEADS)
def test_head_answers_as_get_without_a_body(house: House, address: str) -> None:
    must(house.system("ehr-commons").put(organization("org-1")))
    session = house.login("auditor" if address == "AuditEvent" else "admin")
    get, head = session.get(address), session.request("HEAD", address)

    assert (head.status_code, head.headers["content-type"]) == (
        get.status_code, get.headers["content-type"],
    )  # fmt: skip


@pytest.mark.parametrize("address", [*HEADS, "Organization?colour=red", "Organization?name=org"])
def test_pretty_changes_the_form_alone(program: Session, address: str) -> None:
    must(program.put(organization("org-1")))
    sign = "&" if "?" in address else "?"

    plain, pretty = program.get(address), program.get(f"{address}{sign}_pretty=true")

    assert plain.status_code == pretty.status_code
    assert plain.json() == pretty.json()
    if not address.startswith(".well-known"):
        assert pretty.content.startswith(b"{\n  ")


def test_pretty_keeps_the_digits_of_numbers(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    body = json.dumps(observation("lab-1", "laboratory")).replace("13.5", "13.50").encode()
    headers = {"Content-Type": FHIR_JSON}
    must(hospital.request("PUT", "Observation/lab-1", content=body, headers=headers))

    assert b'"value": 13.50' in hospital.get("Observation/lab-1?_pretty=true").content
    assert b'"value": 13.50' in hospital.get("Observation?_id=lab-1&_pretty=true").content


def test_an_unknown_parameter_is_refused_unless_handling_is_lenient(program: Session) -> None:
    must(program.put(organization("org-1")))

    strict = program.get("Organization?colour=red")
    lenient = program.get("Organization?colour=red", headers={"Prefer": "handling=lenient"})

    assert strict.status_code == 400
    assert "colour" in issue(strict)["diagnostics"]
    modes = [entry["search"]["mode"] for entry in lenient.json()["entry"]]
    assert modes == ["match", "outcome"]
    assert lenient.json()["link"][0]["url"] == f"{BASE}/fhir/Organization"
    assert program.get("Organization/org-1?colour=red").status_code == 400


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/fhir+json", 200),
        ("application/json", 200),
        ("*/*", 200),
        ("text/html, application/fhir+json;q=0.9", 200),
        ("application/fhir+xml", 406),
        ("text/turtle", 406),
    ],
)
def test_only_json_is_served(program: Session, accept: str, status: int) -> None:
    answer = program.get("Organization", headers={"Accept": accept})

    assert answer.status_code == status
    assert answer.headers["content-type"] == FHIR_JSON


def test_format_in_the_address_goes_before_accept(program: Session) -> None:
    xml = {"Accept": "application/fhir+xml"}

    assert program.get("Organization?_format=json", headers=xml).status_code == 200
    assert program.get("Organization?_format=application/fhir+json", headers=xml).status_code == 200
    assert program.get("Organization?_format=xml").status_code == 406


def test_pretty_is_for_people(program: Session) -> None:
    must(program.put(organization("org-1")))

    assert b'\n  "id": "org-1"' in program.get("Organization/org-1?_pretty=true").content


@pytest.mark.parametrize("kind", ["application/fhir+xml", "text/plain", "", "multipart/form-data"])
def test_only_json_is_taken(program: Session, kind: str) -> None:
    answer = program.request(
        "POST", "Organization", content=b"<Organization/>", headers={"Content-Type": kind}
    )

    assert answer.status_code == 415
    issue(answer)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"{}",
        b'{"resourceType": 3}',
        b'{"resourceType": "Patient"}',
        b'{"resourceType": "Unheard"}',
        b"\xff\xfe{}",
        b'{"resourceType": "Organization", "name": 3}',
        b'{"resourceType": "Organization", "colour": "red"}',
        b'{"resourceType": "Organization", "name": "\xff"}',
        b"[" * 100_000,
        b'{"resourceType":"Organization","contained":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_a_malformed_body_is_refused_and_nothing_is_stored(program: Session, body: bytes) -> None:
    answer = program.request(
        "POST", "Organization", content=body, headers={"Content-Type": FHIR_JSON}
    )

    # 413: nested deeper than any resource is.
    assert answer.status_code in (400, 413, 422), answer.text
    issue(answer)
    assert program.ids("Organization") == []


def test_a_large_body_is_refused_before_it_is_read_whole(tmp_path: Any) -> None:
    house = House(tmp_path / "small", max_body_bytes=1000)
    program = house.system("ehr-commons")
    sent = 0

    def pieces() -> Any:
        nonlocal sent
        for _ in range(1000):
            sent += 100
            yield b" " * 100

    declared = program.post("Organization", {"resourceType": "Organization", "name": "x" * 2000})
    streamed = program.request(
        "POST", "Organization", content=pieces(), headers={"Content-Type": FHIR_JSON}
    )

    assert (declared.status_code, streamed.status_code) == (413, 413)
    assert issue(streamed)["code"] == "too-costly"


def test_a_bundle_of_too_many_entries_is_refused(tmp_path: Path) -> None:
    program = House(tmp_path / "small", max_bundle_entries=2).system("ehr-commons")
    get = {"request": {"method": "GET", "url": "Organization"}}

    def send(number: int) -> Any:
        body = {"resourceType": "Bundle", "type": "batch", "entry": [get] * number}
        return program.post("/fhir", body)

    assert (send(2).status_code, send(3).status_code) == (200, 413)
    assert issue(send(3))["expression"] == ["Bundle.entry"]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("GET", "/fhir/Unheard", 404),
        ("GET", "/fhir/Unheard/1", 404),
        ("GET", "/fhir/Organization/none", 404),
        ("GET", "/fhir/Organization/none/_history/1", 404),
        ("GET", "/fhir/Organization/none/_history/x", 404),
        ("GET", "/fhir/Organization/none/_history", 404),
        ("GET", "/fhir/Organization/a/b/c/d", 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/fhir/Organization", 405),
        ("PATCH", "/fhir/Organization/1", 415),
        ("PATCH", "/fhir/Organization?name=x", 415),
        ("PUT", "/fhir/Organization?name=x", 415),
        ("PUT", "/fhir/Organization", 405),
        ("PUT", "/fhir/metadata", 405),
        ("GET", "/fhir/Organization?_count=-1", 400),
        ("GET", "/fhir/Organization?_count=x", 400),
        ("GET", "/fhir/Organization?_cursor=x", 400),
        ("GET", "/fhir/Organization?_lastUpdated=yesterday", 400),
        ("GET", "/fhir/Organization?name=%FF", 400),
        ("GET", "/fhir/Organization?_sort=colour", 400),
        ("GET", "/fhir/Organization?" + "&".join(["name=a"] * 600), 400),
        ("GET", "/fhir/Organization/none/_history?_count=x", 400),
        ("GET", "/fhir/Organization/none/_history?colour=red", 400),
        ("POST", "/fhir/Organization/_search", 200),
    ],
)
def test_every_odd_request_gets_an_outcome_of_its_own(
    program: Session, method: str, address: str, status: int
) -> None:
    answer = program.request(method, address)

    assert answer.status_code == status, answer.text
    if status >= 400:
        issue(answer)


def test_an_id_in_the_body_that_is_not_the_one_in_the_address_is_refused(
    program: Session,
) -> None:
    answer = program.request("PUT", "Organization/org-2", json=organization("org-1"),
                             headers={"Content-Type": FHIR_JSON})  # fmt: skip

    assert answer.status_code == 400
    assert issue(answer)["expression"] == ["Organization.id"]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer x", "Bearer a.b.c", "Basic abc", "Bearer é"]
)
def test_without_a_good_token_nothing_is_served(house: House, header: str) -> None:
    for method, address in (
        ("GET", "/fhir/Patient"),
        ("GET", "/fhir/Patient/1"),
        ("GET", "/fhir/AuditEvent"),
        ("POST", "/fhir"),
        ("GET", "/feed"),
    ):
        headers = {"Authorization": header.encode()} if header else {}
        answer = house.client.request(method, address, headers=headers)

        assert answer.status_code == 401, address
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert issue(answer)["code"] == "login"


def test_an_expired_token_is_refused(house: House) -> None:
    doctor = house.login("doctor.a")
    must(doctor.get("Organization"))

    house.clock.forward(seconds=3600)

    assert doctor.get("Organization").status_code == 401


def test_scopes_that_do_not_cover_a_write_are_refused(house: House) -> None:
    auditor = house.login("auditor")

    assert auditor.post("Organization", organization("x")).status_code == 403


def test_search_pages_hold_every_match_once(program: Session) -> None:
    for number in range(7):
        must(program.put(organization(f"org-{number}")))

    address: str | None = "Organization?_count=3&_total=accurate"
    seen: list[str] = []
    while address:
        page = must(program.get(address)).json()
        assert (page["type"], page["total"]) == ("searchset", 7)
        for entry in page["entry"]:
            assert entry["search"] == {"mode": "match"}
            assert entry["fullUrl"] == f"{BASE}/fhir/Organization/{entry['resource']['id']}"
            seen.append(entry["resource"]["id"])
        address = next((one["url"] for one in page["link"] if one["relation"] == "next"), None)

    assert sorted(seen) == [f"org-{number}" for number in range(7)]


def test_search_by_post_equals_search_by_get(program: Session) -> None:
    must(program.put(organization("org-1")))

    by_get = program.get("Organization?name=org&_total=accurate")
    by_post = program.request(
        "POST", "Organization/_search", data={"name": "org", "_total": "accurate"}
    )

    assert by_get.content == by_post.content
    assert by_post.json()["total"] == 1


def test_a_count_alone_has_no_entries(program: Session) -> None:
    must(program.put(organization("org-1")))

    for query in ("_summary=count", "_count=0&_total=accurate"):
        page = must(program.get(f"Organization?{query}")).json()
        assert (page["total"], page.get("entry")) == (1, None)


def test_a_search_answers_the_same_bytes_twice(program: Session) -> None:
    must(program.put(organization("org-1")))

    assert program.get("Organization").content == program.get("Organization").content


def test_a_conditional_create_makes_one(program: Session) -> None:
    headers = {"If-None-Exist": "name=Org-1"}
    body = {"resourceType": "Organization", "name": "Org-1"}

    first = program.post("Organization", body, headers=headers)
    second = program.post("Organization", body, headers=headers)

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]


def test_a_transaction_writes_all_or_nothing(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    good = observation("x", "laboratory")
    bad = {**observation("y", "laboratory"), "valueQuantity": 3}

    def bundle(kind: str, *resources: dict[str, Any]) -> dict[str, Any]:
        entries = [
            {"resource": one, "request": {"method": "POST", "url": one["resourceType"]}}
            for one in resources
        ]
        return {"resourceType": "Bundle", "type": kind, "entry": entries}

    before = hospital.get("Observation?_summary=count").json()["total"]
    failed = hospital.post("/fhir", bundle("transaction", good, bad))
    after_failure = hospital.get("Observation?_summary=count").json()["total"]
    done = must(hospital.post("/fhir", bundle("transaction", good, good))).json()
    batch = must(hospital.post("/fhir", bundle("batch", good, bad))).json()

    assert failed.status_code in (400, 422)
    assert after_failure == before
    assert done["type"] == "transaction-response"
    assert [entry["response"]["status"][:3] for entry in done["entry"]] == ["201", "201"]
    assert done["entry"][0]["response"]["location"].startswith(f"{BASE}/fhir/Observation/")
    assert [entry["response"]["status"][:3] for entry in batch["entry"]] == ["201", "422"]
    assert batch["entry"][1]["response"]["outcome"]["resourceType"] == "OperationOutcome"


def test_a_batch_answers_each_entry_whatever_the_others_lack(furnished: House) -> None:
    doctor = furnished.login("doctor.a")
    entries = [{"request": {"method": "GET", "url": "Observation"}}, {}, 7]

    answer = doctor.post("/fhir", {"resourceType": "Bundle", "type": "batch", "entry": entries})
    marked = doctor.request(
        "POST", "/fhir", content=b"\xef\xbb\xbf" + json.dumps(
            {"resourceType": "Bundle", "type": "batch", "entry": entries[:1]}
        ).encode(), headers={"Content-Type": "application/fhir+json"},
    )  # fmt: skip

    statuses = [one["response"]["status"][:3] for one in must(answer).json()["entry"]]
    assert statuses == ["200", "400", "400"]
    assert must(marked).json()["entry"] == answer.json()["entry"][:1]


def test_the_audit_log_is_not_in_a_bundle_however_its_name_is_written(furnished: House) -> None:
    entries = [{"request": {"method": "GET", "url": "AuditEvent"}}]
    body = json.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries})

    for text in (body, body.replace("AuditEvent", "\\u0041uditEvent")):
        answer = furnished.login("p.pat-1").request(
            "POST", "/fhir", content=text, headers={"Content-Type": "application/fhir+json"}
        )
        assert answer.status_code == 422


def test_a_batch_reads_and_searches_and_each_answer_stands_for_itself(furnished: House) -> None:
    def batch(*urls: str) -> dict[str, Any]:
        entries = [{"request": {"method": "GET", "url": url}} for url in urls]
        return {"resourceType": "Bundle", "type": "batch", "entry": entries}

    doctor = furnished.login("doctor.a")
    urls = ("Observation/lab-1", "Observation?patient=pat-1&_count=1", "Observation/none")
    answer = must(doctor.post("/fhir", batch(*urls))).json()

    statuses = [entry["response"]["status"][:3] for entry in answer["entry"]]
    assert statuses == ["200", "200", "404"]
    assert answer["entry"][0]["resource"]["id"] == "lab-1"
    nested = answer["entry"][1]["resource"]
    assert [one["relation"] for one in nested["link"]] == ["self", "next"]
    assert must(doctor.get(nested["link"][1]["url"])).json()["entry"]


def test_the_capability_statement_needs_no_token_and_is_valid(house: House) -> None:
    answer = house.client.get("/fhir/metadata")

    statement = answer.json()
    validate(statement)
    assert answer.headers["content-type"] == FHIR_JSON
    assert statement["fhirVersion"] == "4.0.1"
    types = {one["type"]: one for one in statement["rest"][0]["resource"]}
    assert len(types) > 140
    found = {(one["name"], one["type"]) for one in types["Patient"]["searchParam"]}
    assert ("birthdate", "date") in found
    assert "Observation:patient" in types["Patient"]["searchRevInclude"]
    assert "Patient:organization" in types["Patient"]["searchInclude"]


def test_every_interaction_that_is_declared_is_served(furnished: House) -> None:
    statement = furnished.client.get("/fhir/metadata").json()["rest"][0]
    declared = next(one for one in statement["resource"] if one["type"] == "Organization")
    program = furnished.system("ehr-commons")
    calls = {
        "read": lambda: program.get("Organization/hospital-a"),
        "vread": lambda: program.get("Organization/hospital-a/_history/1"),
        "history-instance": lambda: program.get("Organization/hospital-a/_history"),
        "history-type": lambda: program.get("Organization/_history"),
        "history-system": lambda: program.get("_history"),
        "create": lambda: program.post("Organization", {"resourceType": "Organization",
                                                        "name": "C"}),
        "update": lambda: program.put(organization("hospital-b")),
        "search-type": lambda: program.get("Organization"),
        "search-system": lambda: program.get("/fhir?_type=Organization"),
        "patch": lambda: program.request("PATCH", "Organization/hospital-b", content=b"[]",
                                         headers={"Content-Type": "application/json-patch+json"}),
        "delete": lambda: program.delete("Organization/hospital-b"),
        "transaction": lambda: program.post("/fhir", {"resourceType": "Bundle",
                                                      "type": "transaction"}),
        "batch": lambda: program.post("/fhir", {"resourceType": "Bundle", "type": "batch"}),
    }  # fmt: skip

    codes = [one["code"] for one in declared["interaction"] + statement["interaction"]]

    assert set(codes) == set(calls)
    for code in calls:
        assert calls[code]().status_code < 300, code


def test_the_feed_gives_every_version_in_order_to_its_own_scope_alone(furnished: House) -> None:
    lake = furnished.system("ehr-commons", "ehr/feed.read")
    furnished.share()
    must(furnished.login("p.pat-1").delete("Consent/sharing-hospital-b"))

    lines = [json.loads(line) for line in must(lake.get("/feed?after=0")).content.splitlines()]
    page = must(lake.get(f"/feed?after={lines[2]['position']}&limit=2"))
    end = must(lake.get(f"/feed?after={lines[-1]['position']}"))

    positions = [line["position"] for line in lines]
    assert positions == sorted(positions)
    assert (lines[-1]["method"], lines[-1]["resource"]) == ("DELETE", None)
    lab = next(line for line in lines if line["id"] == "lab-1")
    assert (lab["author"], lab["version"]) == ("hospital-a", 1)
    assert lab["lastUpdated"] == lab["resource"]["meta"]["lastUpdated"]
    assert page.headers["x-feed-next"] == str(lines[4]["position"])
    assert page.headers["x-feed-last-page"] == "false"
    assert len(page.content.splitlines()) == 2
    assert (end.content, end.headers["x-feed-next"]) == (b"", str(positions[-1]))
    assert end.headers["x-feed-last-page"] == "true"
    for session in (furnished.system("ehr-commons"), furnished.login("steward")):
        assert session.get("/feed").status_code == 403
    for query in ("after=x", "after=-1", "limit=0"):
        assert lake.get(f"/feed?{query}").status_code == 400


def test_the_feed_tells_the_facts_of_records_and_the_rules_of_patients(furnished: House) -> None:
    lake = furnished.system("ehr-commons", "ehr/feed.read")

    page = must(lake.get("/feed?after=0&decisions=0&limit=5000"))
    lines = [json.loads(line) for line in page.content.splitlines()]
    lab = next(line for line in lines if line["id"] == "lab-1")
    rules = {line["id"]: line["rules"] for line in lines if "rules" in line}
    place = f"after={page.headers['x-feed-next']}&decisions={page.headers['x-feed-decisions']}"
    started = time.monotonic()
    nothing = must(lake.get(f"/feed?{place}&wait=0.3"))
    waited = time.monotonic() - started
    furnished.share()
    changed = must(lake.get(f"/feed?{place}&wait=30"))
    first_decision = must(
        lake.get(f"/feed?after={page.headers['x-feed-next']}&decisions=0&limit=1")
    )

    assert [one.headers["x-feed-last-page"] for one in (page, first_decision)] == ["true", "false"]
    assert lab["facts"]["patients"] == ["pat-1"]
    assert lab["facts"]["domain"] == "laboratory"
    assert {name: [row["table"] for row in listed] for name, listed in rules.items()} == {
        "pat-1": ["consent_joining"],
        "pat-2": ["consent_joining"],
    }
    assert nothing.content == b""
    assert waited >= 0.3
    assert b"sharing-hospital-b" in changed.content
    assert lake.get(f"/feed?{place}&wait=61").status_code == 400
    far = int(page.headers["x-feed-decisions"]) + 1
    assert lake.get(f"/feed?after=0&decisions={far}").status_code == 409


def test_every_address_is_in_the_reference() -> None:
    reference = (ROOT / "docs/reference/http.md").read_text("utf-8")
    pages = ROOT / "docs/reference/operations"
    names = {
        "resource_type": "type", "logical_id": "id", "patient": "id", "version_id": "version",
        "export_id": "id", "import_id": "id",
    }  # fmt: skip

    routes = [*FHIR_ROUTES, *(route for one in ROUTERS for route in one.routes)]
    served = {str(getattr(route, "path", "")) for route in routes}
    assert len(served) > 15
    for address in served:
        for name, shown in names.items():
            address = address.replace(f"{{{name}}}", f"{{{shown}}}")
        _, sign, operation = address.partition("$")
        operation, _, _ = operation.partition("/")
        if sign:
            assert f"{address}`" in (pages / f"{operation}.md").read_text("utf-8"), address
        else:
            assert f"`{address}`" in reference, address


def test_it_says_that_it_lives_and_what_it_served(house: House) -> None:
    house.client.get("/fhir/Patient/secret-id")

    assert house.client.get("/healthz").text == "ok\n"
    assert house.client.get("/readyz").text == "ready\n"
    metrics = house.client.get("/metrics").text
    assert 'route="/fhir/{resource_type}/{logical_id}",status="401"} 1' in metrics
    assert "secret-id" not in metrics


def test_a_fault_of_ours_tells_nothing_and_is_logged_without_values(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ehr_gateway.interactions import read

    def broken(*_: object) -> None:
        raise RuntimeError("Chan Ka Ming")

    monkeypatch.setattr(read, "read", broken)

    answer = house.login("doctor.a").get("Patient/1")

    assert answer.status_code == 500
    assert issue(answer)["code"] == "exception"
    assert "Chan" not in answer.text + caplog.text
    assert answer.headers["x-request-id"] in caplog.text


def test_head_answers_like_get_without_a_body(program: Session) -> None:
    must(program.put(organization("org-1")))

    answer = program.request("HEAD", "Organization/org-1")

    assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"1"')
