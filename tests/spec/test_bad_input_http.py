"""Bad input: a 4xx with an OperationOutcome that names the place, and nothing is written."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_gateway.schema import resources
from tests.lib.gateway import (
    House,
    Session,
    encounter,
    lend_houses,
    observation,
    organization,
    patient,
)
from tests.lib.subscriptions import subscription

JSON = {"Content-Type": "application/fhir+json"}
OBSERVATION = observation("new", "laboratory")
PATIENT = patient("new", "ZC1234567")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def refusing(
    request: pytest.FixtureRequest,
    houses: dict[tuple[str, str], Path | str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[House]:
    """Return one furnished house for all refusals: each leaves it as the next has to find it."""
    folder = tmp_path_factory.mktemp("refusing")
    with lend_houses(houses, tmp_path_factory, folder, request.param, request) as move_in:
        yield move_in("furnished")


@pytest.fixture
def program(refusing: House) -> Session:
    """Return a session of hospital-a's own system."""
    return refusing.system("hospital-a")


def rows(house: House) -> dict[str, int]:
    """Count the rows of every table of records, index and rules."""
    with house.gateway.store.read_transaction() as connection:
        return {
            name: int(connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0])
            for name in resources.METADATA.tables
        }


def text(resource: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**resource, **changes}).encode()


def spliced(resource: dict[str, Any], extra: bytes) -> bytes:
    """Return a resource with something in its JSON that json.dumps does not write."""
    return json.dumps(resource).encode()[:-1] + b"," + extra + b"}"


def nested(depth: int) -> bytes:
    return b'{"extension":[' * depth + b"{}" + b"]}" * depth


BODIES: list[tuple[bytes, int, str | None]] = [
    (b"", 400, None),
    (b"  ", 400, None),
    (b"{", 400, None),
    (b"[]", 400, None),
    (b"null", 400, None),
    (b'"text"', 400, None),
    (b"\xff\xfe{}", 400, None),
    (b"\x00", 400, None),
    (b'{"resourceType":"Observation","a\\udc00":["\\u001f"]}', 400, "Observation.a?[0]"),
    (b"{}", 400, "resourceType"),
    (b'{"resourceType":"Nothing"}', 400, "resourceType"),
    (b'{"resourceType":["Observation"]}', 400, "resourceType"),
    (b'{"resourceType":"Patient"}', 400, "resourceType"),
    (spliced(OBSERVATION, b'"status":"final"'), 400, None),
    (spliced(OBSERVATION, b'"x":NaN'), 400, None),
    (spliced(OBSERVATION, b'"x":-Infinity'), 400, None),
    (spliced(OBSERVATION, b'"x":01'), 400, None),
    (spliced(OBSERVATION, b'"x":' + nested(60)), 413, None),
    (spliced(OBSERVATION, b'"x":' + b"[" * 100_000), 413, None),
    (spliced(OBSERVATION, b'"x":' + b"[" * 100_000 + b"]" * 100_000), 413, None),
    (spliced(OBSERVATION, b'"note":[{"text":"\\ud800"}]'), 400, "Observation.note[0].text"),
    (spliced(OBSERVATION, b'"note":[{"text":"\\udc00\\ud800"}]'), 400,
     "Observation.note[0].text"),
    (spliced(OBSERVATION, b'"note":[{"text":"a\\u0000b"}]'), 400, "Observation.note[0].text"),
    (spliced(OBSERVATION, b'"valueInteger":' + b"9" * 5000), 400, None),
    (spliced(OBSERVATION, b'"referenceRange":[{"low":{"value":1e999999999}}]'), 400, None),
    (spliced(OBSERVATION, b'"referenceRange":[{"low":{"value":-1e-999999999}}]'), 400, None),
    (spliced(OBSERVATION, b'"referenceRange":[{"low":{"value":1e99999999999999999999}}]'), 400,
     None),
    (spliced(OBSERVATION, b'"component":[{"code":{"text":"a"},"valueQuantity":{"value":'
     + b"9" * 400 + b',"system":"http://unitsofmeasure.org","code":"mg"}}]'), 400, None),
    (text(OBSERVATION, unknown=1), 422, "Observation.unknown"),
    (text(OBSERVATION, status="banana"), 422, "Observation.status"),
    (text(OBSERVATION, status=None), 422, None),
    (text(OBSERVATION, status=5), 422, "Observation.status"),
    (text(OBSERVATION, status=["final"]), 422, "Observation.status"),
    (text(OBSERVATION, code=None), 422, None),
    (text(OBSERVATION, code="x"), 422, "Observation.code"),
    (text(OBSERVATION, category={}), 422, "Observation.category"),
    (text(OBSERVATION, id="a b"), 422, "Observation.id"),
    (text(OBSERVATION, id="a" * 65), 422, "Observation.id"),
    (text(OBSERVATION, id=5), 422, "Observation.id"),
    (text(OBSERVATION, effectiveDateTime="2026-13-45"), 422, "Observation.effectiveDateTime"),
    (text(OBSERVATION, effectiveDateTime="2026-01-01T10:00"), 422, "Observation.effectiveDateTime"),
    (text(OBSERVATION, effectiveDateTime="yesterday"), 422, "Observation.effectiveDateTime"),
    (text(OBSERVATION, effectiveDateTime=2026), 422, "Observation.effectiveDateTime"),
    (text(OBSERVATION, issued="2026-01-01"), 422, "Observation.issued"),
    (text(OBSERVATION, valueQuantity={"value": "13.5"}), 422, "Observation.valueQuantity.value"),
    (text(OBSERVATION, valueQuantity={"value": 1, "comparator": "~"}), 422,
     "Observation.valueQuantity.comparator"),
    (text(OBSERVATION, valueString="both"), 422, "Observation"),
    (text(OBSERVATION, meta={"lastUpdated": "never"}), 422, "Observation.meta.lastUpdated"),
    (text(OBSERVATION, meta=[]), 422, "Observation.meta"),
    # As with a patient who has not joined: whether there is such a patient is not told.
    (text(OBSERVATION, subject={"reference": "Patient/nobody"}), 403, None),
    (text(OBSERVATION, encounter={"reference": "Encounter/nobody"}), 422,
     "Observation.encounter.reference"),
    (text(OBSERVATION, encounter={"reference": "not a reference"}), 422,
     "Observation.encounter.reference"),
    (text(OBSERVATION, encounter={"reference": "Patient/../../x"}), 422,
     "Observation.encounter.reference"),
    (text(OBSERVATION, encounter={"reference": "#nothing"}), 422,
     "Observation.encounter.reference"),
    (text(OBSERVATION, encounter={"reference": "urn:uuid:0"}), 422,
     "Observation.encounter.reference"),
    (text(OBSERVATION, subject={"reference": "Patient?identifier=nobody"}), 422,
     "Observation.subject.reference"),
    (text(OBSERVATION, subject={"reference": "Patient?colour=red"}), 400, None),
    (text(OBSERVATION, subject={"reference": "Patient?name=%ff"}), 400, None),
    (text(OBSERVATION, subject={"reference": "http://testserver/fhir/Patient/nobody"}), 403, None),
    (text(OBSERVATION, encounter={"reference": "http://testserver/fhir/Encounter/nobody"}), 422,
     "Observation.encounter.reference"),
    (text(OBSERVATION, subject={"reference": 5}), 422, "Observation.subject.reference"),
    (text(OBSERVATION, contained=[{"id": "a"}]), 422, "Observation.contained[0]"),
    (text(OBSERVATION, contained=[{"resourceType": "Patient", "gender": "x"}]), 422,
     "Observation.contained[0].gender"),
    (text(OBSERVATION, contained=["text"]), 422, "Observation.contained[0]"),
    (text(OBSERVATION, _status="x"), 422, None),
    (text(OBSERVATION, extension=[{"url": "http://e", "valueString": 5}]), 422, None),
]  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize(("body", "status", "expression"), BODIES)
def test_a_bad_body_is_refused_and_its_place_named(
    refusing: House, program: Session, body: bytes, status: int, expression: str | None
) -> None:
    before = rows(refusing)

    for method, address in (("POST", "Observation"), ("PUT", "Observation/new")):
        answer = program.request(method, address, content=body, headers=JSON)

        refuses(answer, status, expression)
    assert rows(refusing) == before


@pytest.mark.sampled
@pytest.mark.parametrize(("body", "status", "expression"), BODIES[27:])
def test_a_bad_entry_is_refused_in_a_bundle_and_its_place_named(
    refusing: House, program: Session, body: bytes, status: int, expression: str | None
) -> None:
    before = rows(refusing)
    entry = b'{"request":{"method":"POST","url":"Observation"},"resource":' + body + b"}"
    for kind in (b"transaction", b"batch"):
        bundle = b'{"resourceType":"Bundle","type":"' + kind + b'","entry":[' + entry + b"]}"

        answer = program.request("POST", "/fhir", content=bundle, headers=JSON)

        if kind == b"batch":
            assert answer.status_code == 200, answer.text
            outcome = answer.json()["entry"][0]["response"]["outcome"]
            assert outcome["resourceType"] == "OperationOutcome"
        else:
            place = expression and expression.replace("Observation", "Bundle.entry[0].resource", 1)
            refuses(answer, status, place)
    assert rows(refusing) == before


REQUESTS: list[tuple[str, str, dict[str, str], str]] = [
    ("GET", "Observation?_count=many", {}, "_count"),
    ("GET", "Observation?_cursor=forged", {}, ""),
    ("GET", "Observation?_cursor=" + "A" * 5000, {}, ""),
    ("GET", "Observation?date=2026-13", {}, "date"),
    ("GET", "Observation?date=tomorrow", {}, "date"),
    ("GET", "Observation?value-quantity=many", {}, "value-quantity"),
    ("GET", "Observation?value-quantity=1|2", {}, "value-quantity"),
    ("GET", "Observation?colour=red", {}, "colour"),
    ("GET", "Observation?code:exactly=x", {}, "code"),
    ("GET", "Observation?subject.name.x=1", {}, ""),
    ("GET", "Observation?_include=Nothing:x", {}, "_include"),
    ("GET", "Observation?_sort=colour", {}, "colour"),
    ("GET", "Observation?code=%ff", {}, ""),
    ("GET", "Observation?code=a%00b", {}, ""),
    ("DELETE", "Observation?identifier=a%00b", {}, ""),
    ("GET", "Observation?" + "&".join(["code=a"] * 600), {}, ""),
    ("GET", "Observation/_history?_since=yesterday", {}, "_since"),
    ("GET", "Observation/_history?_count=-1", {}, "_count"),
    ("GET", "Observation/_history?_cursor=forged", {}, ""),
    ("GET", "Observation/_history?_sort=x", {}, ""),
    ("GET", "Observation/lab-1?colour=red", {}, "colour"),
    ("GET", "Observation/lab-1", {"Prefer": "return=everything"}, "Prefer"),
    ("GET", "Observation/lab-1", {"Accept": "application/fhir+xml"}, "XML"),
    ("GET", "Observation/lab-1?_format=xml", {}, "XML"),
    ("GET", "Nothing", {}, ""),
    ("GET", "Nothing/1", {}, ""),
    ("GET", "Observation/a%00b", {}, ""),
    ("GET", "Observation/" + "a" * 300, {}, ""),
    ("DELETE", "Observation/lab-1", {"If-Match": "three"}, "If-Match"),
    ("DELETE", "Observation/lab-1", {"If-Match": 'W/"9"'}, "If-Match"),
    ("DELETE", "Observation?colour=red", {}, "colour"),
    ("DELETE", "Observation", {}, ""),
    ("PUT", "Observation/other", JSON, "id"),
    ("PUT", "Observation/lab-1", {"Content-Type": "application/fhir+xml"}, "XML"),
    ("PUT", "Observation/lab-1", {"Content-Type": "application/fhir+json; charset=latin-1"}, ""),
    ("POST", "Observation", {**JSON, "If-None-Exist": "colour=red"}, "colour"),
    ("POST", "Observation", {**JSON, "If-None-Exist": ""}, ""),
    ("POST", "Observation", {**JSON, "If-None-Exist": "identifier=%ff"}, ""),
    ("POST", "Observation?colour=red", JSON, "colour"),
    ("PATCH", "Observation/lab-1", {"Content-Type": "text/plain"}, ""),
    ("PATCH", "Observation/lab-1", JSON, ""),
    ("PATCH", "Observation/lab-1", {"Content-Type": "application/json-patch+json"}, ""),
]


@pytest.mark.sampled
@pytest.mark.parametrize(("method", "address", "headers", "says"), REQUESTS)
def test_a_bad_parameter_or_header_is_refused_by_name(
    refusing: House,
    program: Session,
    method: str,
    address: str,
    headers: dict[str, str],
    says: str,
) -> None:
    before = rows(refusing)
    body = text(OBSERVATION) if method in ("POST", "PUT", "PATCH") else None

    answer = program.request(method, address, headers=headers, content=body)

    refuses(answer, None, None)
    assert says in answer.json()["issue"][0]["diagnostics"]
    assert rows(refusing) == before


BUNDLES: list[tuple[dict[str, Any], str | None]] = [
    ({"type": "collection"}, "Bundle.type"),
    ({"type": None}, "Bundle.type"),
    ({"type": ["batch"]}, "Bundle.type"),
    ({"entry": {}}, "Bundle.entry"),
    ({"entry": [None]}, "Bundle.entry[0].request"),
    ({"entry": ["text"]}, "Bundle.entry[0].request"),
    ({"entry": [{}]}, "Bundle.entry[0].request"),
    ({"entry": [{"request": {"method": "TRACE", "url": "Patient"}}]},
     "Bundle.entry[0].request.method"),
    ({"entry": [{"request": {"method": ["GET"], "url": "Patient"}}]},
     "Bundle.entry[0].request.method"),
    ({"entry": [{"request": {"method": "POST", "url": "http://elsewhere/Patient"}}]},
     "Bundle.entry[0].request.url"),
    ({"entry": [{"request": {"method": "POST", "url": "Patient"}}]}, "Bundle.entry[0].resource"),
    ({"entry": [{"request": {"method": "POST", "url": "Patient"}, "resource": []}]},
     "Bundle.entry[0].resource"),
    ({"entry": [{"request": {"method": "PUT", "url": "Patient/a"}, "resource": PATIENT}]},
     "Bundle.entry[0].resource.id"),
    ({"entry": [{"request": {"method": "PUT", "url": "Patient/new", "ifMatch": "x"},
                 "resource": PATIENT}]}, "Bundle.entry[0].request.ifMatch"),
    ({"entry": [{"request": {"method": "PUT", "url": "Patient/new", "ifNoneMatch": "x"},
                 "resource": PATIENT}]}, "Bundle.entry[0].request.ifNoneMatch"),
    ({"entry": [{"request": {"method": "PATCH", "url": "Patient/a"},
                 "resource": {"resourceType": "Binary", "contentType": "x", "data": "!"}}]},
     "Bundle.entry[0].resource"),
    ({"entry": [{"request": {"method": "DELETE", "url": "Patient"}}]},
     "Bundle.entry[0].request.url"),
    ({"entry": [{"fullUrl": "urn:uuid:1", "request": {"method": "POST", "url": "Organization"},
                 "resource": {"resourceType": "Organization", "name": "Twice"}}] * 2},
     "Bundle.entry[1].fullUrl"),
    ({"entry": [{"request": {"method": "DELETE", "url": "Observation/lab-1"}}] * 2},
     "Bundle.entry[1]"),
]  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize(("changes", "expression"), BUNDLES)
def test_a_bad_bundle_is_refused_and_its_place_named(
    refusing: House, program: Session, changes: dict[str, Any], expression: str | None
) -> None:
    before = rows(refusing)
    bundle = {"resourceType": "Bundle", "type": "transaction", **changes}

    answer = program.post("/fhir", bundle)

    refuses(answer, None, expression)
    assert rows(refusing) == before


def refuses(answer: Any, status: int | None, expression: str | None) -> None:
    assert 400 <= answer.status_code < 500, answer.text
    assert status is None or answer.status_code == status, answer.text
    outcome = answer.json()
    assert outcome["resourceType"] == "OperationOutcome"
    issue = outcome["issue"][0]
    assert issue["severity"] == "error"
    assert issue["diagnostics"]
    if expression is not None:
        assert issue["expression"] == [expression], issue


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["Patient/pat-1", "urn:uuid:1", "2026-13-01", "#", "?", "\ud800", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)  # fmt: skip
SEEDS: list[dict[str, Any]] = [
    OBSERVATION,
    PATIENT,
    organization("new"),
    encounter("new"),
    {"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": "urn:uuid:1", "resource": organization("x"),
         "request": {"method": "POST", "url": "Organization"}},
        {"fullUrl": "urn:uuid:2", "resource": OBSERVATION,
         "request": {"method": "POST", "url": "Observation", "ifNoneExist": "code=x"}},
        {"request": {"method": "GET", "url": "Patient?name=chan"}},
        {"request": {"method": "PUT", "url": "Organization?name=x"}, "resource": organization("y")},
    ]},
    {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
        {"name": "type", "valueCode": "replace"},
        {"name": "path", "valueString": "Observation.status"},
        {"name": "value", "valueCode": "amended"}]}]},
]  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(node, dict):
        steps = list(node.items())
    else:
        steps = list(enumerate(node)) if isinstance(node, list) else []
    for key, value in steps:
        found += places(value, (*path, key))
    return found


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Draw a valid body with keys deleted, values swapped for others, and bytes flipped."""
    content = copy.deepcopy(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 3))):
        *path, last = draw(st.sampled_from(places(content)))
        node: Any = content
        for step in path:
            node = node[step]
        if draw(st.booleans()):
            node[last] = draw(JSON_VALUES)
        else:
            del node[last]
        if not places(content):
            break
    body = bytearray(json.dumps(content).encode())
    for _ in range(draw(st.integers(0, 2))):
        body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body)


@settings(max_examples=200)
@given(body=mutated(), patch=st.booleans())
def test_no_mutation_of_a_valid_body_leads_to_a_fault(
    furnished: House, body: bytes, patch: bool
) -> None:
    program = furnished.system("hospital-a")
    requests = [("POST", "/fhir"), ("POST", "Observation"), ("PUT", "Organization/new")]
    if patch:
        requests.append(("PATCH", "Observation/lab-1"))
    for method, address in requests:
        answer = program.request(method, address, content=body, headers=JSON)

        assert answer.status_code < 500, (method, address, body)
        if answer.status_code >= 400:
            assert answer.json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("value", ["%00", "%FF"])
def test_criteria_that_are_no_text_are_refused_wherever_they_stand(
    program: Session, value: str
) -> None:
    criteria = f"Observation?code={value}"
    escaped = quote(criteria, safe="")

    made = program.post("Subscription", subscription("new-result", None, criteria))
    export = program.get(f"$export?_typeFilter={escaped}", headers={"Prefer": "respond-async"})

    assert (made.status_code, export.status_code) == (422, 400)
    for answer in (made, export):
        assert "percent-encoded" in answer.json()["issue"][0]["diagnostics"]


@pytest.mark.parametrize(
    "address",
    ["$closure", "$decide-merge", "Observation/$stats", "Patient/$match"],
)
def test_half_a_surrogate_pair_in_an_operation_is_refused(program: Session, address: str) -> None:
    body = rb'{"resourceType":"Parameters","parameter":[{"name":"name","valueString":"\ud800"}]}'

    answer = program.request("POST", address, content=body, headers=JSON)

    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["Parameters.parameter[0].valueString"]
