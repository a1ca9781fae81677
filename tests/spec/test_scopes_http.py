"""A token whose scopes do not cover a type is told so: never an empty answer, never 404."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_fhir import definitions
from ehr_fhir.search.includes import parse_include
from ehr_fhir.search_parameters import parameters_of
from ehr_gateway.operations.registry import OPERATIONS
from tests.lib.gateway import House, observation

# The log has rules of its own; what operations there are is told to everybody.
TYPES = sorted(definitions.resource_types() - {"AuditEvent", "OperationDefinition"})
# A type that no test here asks about; a token needs some scope.
ELSEWHERE = "system/Basic.cruds"
READS = (
    ("{type}/x", "r"),
    ("{type}/x/_history/1", "r"),
    ("{type}/x/_history", "r"),
    ("{type}/_history", "s"),
    ("{type}", "s"),
    ("{type}?_summary=count", "s"),
    ("{type}?_total=accurate&_count=0", "s"),
    ("{type}?_id=x", "s"),
    ("?_type={type}", "s"),
    ("?_type=Basic,{type}", "s"),
)


def refuses(answer: Any, scope: str) -> bool:
    """Say whether an answer refuses for want of a scope, and names it."""
    challenge = answer.headers.get("WWW-Authenticate", "")
    return (
        answer.status_code == 403
        and challenge.startswith("Bearer ")
        and 'error="insufficient_scope"' in challenge
        and scope in challenge.partition('scope="')[2].rstrip('"').split()
        and answer.json()["resourceType"] == "OperationOutcome"
    )


@pytest.fixture
def outside(furnished: House) -> Any:
    """Return a program of hospital-a whose token covers the type Basic alone."""
    return furnished.system("hospital-a", ELSEWHERE)


@pytest.mark.parametrize("kind", TYPES)
def test_every_read_and_search_of_a_type_without_scope_is_refused(
    house_of_types: House, kind: str
) -> None:
    if kind == "Basic":
        return
    app = house_of_types.system("hospital-a", ELSEWHERE)
    for template, letter in READS:
        address = template.format(type=kind)
        if kind == "Subscription" and "_history" in address:
            assert app.get(address).status_code in (403, 404), "it has no history"
            continue
        for method in ("GET", "HEAD"):
            answer = app.request(method, address)
            assert answer.status_code == 403, (method, address)
        assert refuses(app.get(address), f"system/{kind}.{letter}"), address
    assert refuses(app.post(f"{kind}/_search"), f"system/{kind}.s")
    assert refuses(app.post("_search", params={"_type": kind}), f"system/{kind}.s")


@pytest.fixture(scope="module")
def house_of_types(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return one furnished house on SQLite for every type: what is asked reads no record."""
    built = House(tmp_path_factory.mktemp("scopes") / "data")
    built.invite()
    built.furnish()
    with built.client:
        yield built


def test_the_answer_is_the_same_whether_the_record_exists(outside: Any) -> None:
    there, absent = (outside.get(f"Observation/{name}") for name in ("lab-1", "no-such-id"))

    assert there.status_code == absent.status_code == 403
    assert there.json() == absent.json()
    assert there.headers["WWW-Authenticate"] == absent.headers["WWW-Authenticate"]


def test_a_right_to_read_is_none_to_search_and_the_other_way_round(furnished: House) -> None:
    reader = furnished.system("hospital-a", "system/Observation.r")
    finder = furnished.system("hospital-a", "system/Observation.s")

    assert reader.get("Observation/lab-1").status_code == 200
    assert refuses(reader.get("Observation?code=718-7"), "system/Observation.s")
    assert refuses(reader.get("Observation/_history"), "system/Observation.s")
    assert finder.ids("Observation?code=718-7")
    assert refuses(finder.get("Observation/lab-1"), "system/Observation.r")
    assert refuses(finder.get("Observation/lab-1/_history"), "system/Observation.r")


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("address", "missing"),
    [
        ("Patient/pat-1/Observation", "Observation"),
        ("Patient/pat-1/AllergyIntolerance", "AllergyIntolerance"),
        ("Encounter/enc-1/Condition", "Condition"),
        ("Patient?_has:Observation:patient:code=718-7", "Observation"),
        ("Patient?_has:Encounter:patient:_has:Condition:encounter:code=x", "Encounter"),
        ("Patient?_revinclude=Observation:subject", "Observation"),
        ("Patient?_revinclude=AllergyIntolerance:patient", "AllergyIntolerance"),
        ("Patient?general-practitioner:Practitioner.name=x", "Practitioner"),
        ("Patient?organization.name=x", "Organization"),
        ("Patient?_filter=organization.name sw x", "Organization"),
        ("Patient?_filter=not (organization.name sw x)", "Organization"),
        ("Patient?_include=Patient:organization", "Organization"),
        ("Patient?_include=Patient:general-practitioner:Practitioner", "Practitioner"),
        ("Patient?_revinclude:iterate=Observation:subject", "Observation"),
        ("Patient?_list=l", "List"),
        ("Patient?language:in=http://example.org/languages", "ValueSet"),
        ("?_type=Patient&_has:Observation:patient:code=x", "Observation"),
        ("?_type=Patient&_revinclude=Observation:subject", "Observation"),
    ],
)
def test_a_search_through_a_type_without_scope_is_refused(
    furnished: House, address: str, missing: str
) -> None:
    app = furnished.system("hospital-a", "system/Patient.rs")

    answer = app.get(address)

    assert refuses(answer, f"system/{missing}.s"), answer.text
    path, _, query = address.partition("?")
    if query:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        posted = app.request("POST", f"{path}/_search".lstrip("/"), content=query, headers=form)
        assert refuses(posted, f"system/{missing}.s"), posted.text


def test_a_chain_that_may_lead_elsewhere_names_a_type_that_is_covered(furnished: House) -> None:
    app = furnished.system("hospital-a", "system/Observation.rs system/Patient.rs")

    assert app.get("Observation?subject.name=chan").status_code == 403
    assert app.get("Observation?subject:Patient.name=chan").status_code == 200


def test_a_forward_include_brings_what_is_covered_and_leaves_the_reference(
    furnished: House,
) -> None:
    app = furnished.system("hospital-a", "system/Observation.rs system/Encounter.rs")

    assert app.get("Observation?_include=Observation:subject").status_code == 403
    found = app.ids("Observation?_id=lab-1&_include=Observation:encounter&_include=*")
    assert found == ["Observation/lab-1", "Encounter/enc-1"]


def test_a_search_of_all_types_says_which_it_searched(furnished: House) -> None:
    some = furnished.system("hospital-a", "system/Observation.rs system/Encounter.rs")
    every = furnished.system("hospital-a")

    for address in ("?_lastUpdated=gt2000", "Patient/pat-1/*"):
        entries = some.get(address).json()["entry"]
        kinds = {entry["resource"]["resourceType"] for entry in entries}
        assert kinds == {"Observation", "Encounter", "OperationOutcome"}
        (issue,) = entries[-1]["resource"]["issue"]
        assert (issue["severity"], issue["code"]) == ("warning", "suppressed")
        assert "Encounter, Observation" in issue["diagnostics"]
        last = every.get(address).json()["entry"][-1]["resource"]
        assert last["resourceType"] != "OperationOutcome"
    nothing = furnished.system("hospital-a", "system/AuditEvent.rs")
    for address in ("?_lastUpdated=gt2000", "_history"):
        assert refuses(nothing.get(address), "system/*.s")


def test_an_entry_of_a_bundle_without_scope_is_refused_like_its_address(outside: Any) -> None:
    urls = [template.format(type="Observation") for template, _ in READS[:8]]
    entries = [{"request": {"method": "GET", "url": url}} for url in urls]
    entries += [
        {"request": {"method": "DELETE", "url": "Observation/lab-1"}},
        {"request": {"method": "DELETE", "url": "Observation?code=718-7"}},
        {
            "request": {"method": "POST", "url": "Observation"},
            "resource": observation("x", "laboratory"),
        },
        {
            "request": {"method": "PUT", "url": "Observation/x"},
            "resource": observation("x", "laboratory"),
        },
    ]
    batch = outside.post("", {"resourceType": "Bundle", "type": "batch", "entry": entries})

    assert batch.status_code == 200
    for entry in batch.json()["entry"]:
        assert entry["response"]["status"] == "403 Forbidden"
        assert "system/Observation." in entry["response"]["outcome"]["issue"][0]["diagnostics"]
    for entry, (_, letter) in zip(entries, READS[:8], strict=False):
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
        assert refuses(outside.post("", bundle), f"system/Observation.{letter}")


def test_criteria_are_a_search_and_need_its_scope(furnished: House) -> None:
    """Otherwise they would match nothing, and each retry would make another record."""
    app = furnished.system("hospital-a", "system/Observation.crud")
    body = {key: value for key, value in observation("", "laboratory").items() if key != "id"}
    criteria = "code=718-7"

    answers = [
        app.post("Observation", body, headers={"If-None-Exist": criteria}),
        app.request("PUT", f"Observation?{criteria}", json=body,
                    headers={"Content-Type": "application/fhir+json"}),
        app.request("PATCH", f"Observation?{criteria}", json=[],
                    headers={"Content-Type": "application/json-patch+json"}),
        app.delete(f"Observation?{criteria}"),
    ]  # fmt: skip

    for answer in answers:
        assert refuses(answer, "system/Observation.s"), answer.text


@pytest.mark.parametrize(
    ("method", "scope", "missing"),
    [
        ("POST", "system/Observation.rus", "c"),
        ("PUT", "system/Observation.rs", "u"),
        ("PATCH", "system/Observation.crs", "u"),
        ("PATCH", "system/Observation.u", "r"),
        ("DELETE", "system/Observation.cru", "d"),
    ],
)
def test_a_write_without_scope_is_refused_whether_the_record_exists(
    furnished: House, method: str, scope: str, missing: str
) -> None:
    app = furnished.system("hospital-a", scope)
    for name in ("lab-1", "no-such-id"):
        kind = "json-patch+json" if method == "PATCH" else "fhir+json"
        content = [{"op": "test", "path": "/status", "value": "final"}]
        answer = app.request(
            method,
            "Observation" if method == "POST" else f"Observation/{name}",
            json=content if method == "PATCH" else observation(name, "laboratory"),
            headers={"Content-Type": f"application/{kind}"},
        )
        assert refuses(answer, f"system/Observation.{missing}"), answer.text


def test_people_are_told_their_own_kind_of_scope(furnished: House) -> None:
    patient = furnished.login("p.pat-1", "patient/Observation.rs")
    doctor = furnished.login("doctor.a", "user/Patient.rs")

    assert refuses(patient.get("AllergyIntolerance"), "patient/AllergyIntolerance.s")
    assert refuses(doctor.get("AllergyIntolerance?patient=pat-1"), "user/AllergyIntolerance.s")
    assert refuses(doctor.get("AuditEvent"), "user/AuditEvent.s")


def test_a_scope_with_search_parameters_covers_its_type(furnished: House) -> None:
    patient = furnished.login("p.pat-1", "patient/Observation.rs?code=http://loinc.org|1-1")

    assert patient.get("Observation").status_code == 200
    assert patient.get("Observation/lab-1").status_code == 404


@pytest.mark.sampled
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_names_the_scope_that_it_needs(furnished: House, operation: Any) -> None:
    needed = operation.declaration.required_scope
    doctor = furnished.login("doctor.a", "user/Basic.rs")
    for _, kind, path in operation.declaration.paths():
        address = path.format(resource_type="Basic", patient="pat-1", logical_id="x")
        method = operation.declaration.methods[0]
        answer = doctor.request(
            method,
            address,
            **({"json": {"resourceType": "Parameters"}} if method == "POST" else {}),
            headers={"Content-Type": "application/fhir+json"},
        )
        if needed:
            assert refuses(answer, needed), (address, kind)


def test_the_feed_names_its_scope(furnished: House) -> None:
    assert refuses(furnished.system("hospital-a").get("/feed"), "ehr/feed.read")


def test_no_revinclude_of_any_type_is_passed_over(house_of_types: House) -> None:
    app = house_of_types.system("hospital-a", "system/Patient.rs")
    asked = 0
    for kind in TYPES:
        for code, parameter in sorted(parameters_of(kind).items()):
            if kind == "Patient" or parameter.type != "reference" or not parameter.is_indexed:
                continue
            if "Patient" not in parameter.targets:
                continue
            parse_include("Patient", "_revinclude", f"{kind}:{code}")
            answer = app.get(f"Patient?_revinclude={kind}:{code}")
            assert refuses(answer, f"system/{kind}.s"), (kind, code)
            asked += 1
    assert asked > 100
