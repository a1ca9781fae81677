"""Facts of HL7's terminology ecosystem tests that need no licence, in words of our own.

From HL7/fhir-tx-ecosystem-ig, the suites exclude, simple, validation and errors, as far as their
files could be read: what is asked, and what of the answer they insist on.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, must

GENDER = "http://hl7.org/fhir/administrative-gender"
STATUS = "http://hl7.org/fhir/publication-status"
GENDERS = "http://hl7.org/fhir/ValueSet/administrative-gender"
SYSTEM, SET = "http://hl7.org/fhir/test/CodeSystem/exclude", "http://hl7.org/fhir/test/ValueSet"
REPORTS = {
    "resourceType": "CodeSystem", "url": SYSTEM, "status": "active", "caseSensitive": True,
    "content": "complete",
    "concept": [{"code": one} for one in ("individual", "subject-list", "summary", "exchange")],
}  # fmt: skip


def compose(include: list[Any], exclude: list[Any], **more: Any) -> dict[str, Any]:
    content = {"include": include, **({"exclude": exclude} if exclude else {})}
    return {"resourceType": "ValueSet", "status": "active", "compose": content, **more}


def listed(system: str, *codes: str) -> dict[str, Any]:
    return {"system": system, "concept": [{"code": code} for code in codes]}


def contained(name: str, *include: dict[str, Any]) -> dict[str, Any]:
    return {**compose(list(include), []), "id": name}


def expand(house: House, value_set: dict[str, Any], **more: Any) -> Any:
    parameters = [
        {"name": "valueSet", "resource": value_set},
        {"name": "tx-resource", "resource": REPORTS},
        *({"name": name, "valueInteger": value} for name, value in more.items()),
    ]
    body = {"resourceType": "Parameters", "parameter": parameters}
    return house.login("doctor.a").post("ValueSet/$expand", body)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("value_set", "more", "total", "codes"),
    [
        # exclude-expand
        (compose([{"system": SYSTEM}], [listed(SYSTEM, "exchange")]), {}, 3,
         "individual subject-list summary"),
        # exclude-expand-zero
        (compose([{"system": SYSTEM}], [listed(SYSTEM, "exchange")]), {"count": 0}, 3, ""),
        # exclude-gender2
        (compose([{"valueSet": [GENDERS]}, {"system": STATUS}],
                 [listed(GENDER, "other", "unknown"), listed(STATUS, "unknown")]),
         {"count": 1, "offset": 0}, 5, "male"),
        # exclude-contained
        (compose([{"system": GENDER}], [{"valueSet": ["#male"]}],
                 contained=[contained("male", listed(GENDER, "male"))]), {}, 3,
         "female other unknown"),
        # simple-expand-contained-nested
        (compose([{"valueSet": ["#one"]}], [], contained=[
            contained("one", {"valueSet": ["#two"]}), contained("two", listed(GENDER, "female")),
        ]), {}, 1, "female"),
    ],
)  # fmt: skip
def test_what_is_excluded_or_contained_is(
    furnished: House, value_set: dict[str, Any], more: dict[str, int], total: int, codes: str
) -> None:
    expansion = must(expand(furnished, value_set, **more)).json()["expansion"]

    assert expansion["total"] == total
    assert " ".join(one["code"] for one in expansion.get("contains", ())) == codes


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("value_set", "code"),
    [
        # simple-expand-contained-circular
        (compose([{"valueSet": ["#one"]}], [], contained=[
            contained("one", {"valueSet": ["#two"]}), contained("two", {"valueSet": ["#one"]}),
        ]), "processing"),
        # errors-unknown-system
        (compose([{"system": "http://hl7.org/fhir/test/CodeSystem/none"}], []), "not-found"),
        # errors-broken-filter
        (compose([{"system": SYSTEM, "filter": [{"property": "x", "op": "is-a", "value": "y"}]}],
                 []), "not-supported"),
    ],
)  # fmt: skip
def test_a_faulty_value_set_has_the_code_of_its_fault(
    furnished: House, value_set: dict[str, Any], code: str
) -> None:
    answer = expand(furnished, value_set)

    assert 400 <= answer.status_code < 500
    assert answer.json()["issue"][0]["code"] == code


def test_an_expansion_names_the_code_systems_and_value_sets_it_used(furnished: House) -> None:
    value_set = compose([{"valueSet": [GENDERS]}, {"system": STATUS}], [])
    parameters = must(expand(furnished, value_set)).json()["expansion"]["parameter"]

    used = {(one["name"], one.get("valueUri")) for one in parameters}
    assert {
        ("used-codesystem", f"{GENDER}|4.0.1"), ("used-codesystem", f"{STATUS}|4.0.1"),
        ("used-valueset", f"{GENDERS}|4.0.1"),
    } <= used  # fmt: skip


def test_the_server_says_which_code_systems_it_has(furnished: House) -> None:
    statement = must(furnished.client.get("/fhir/metadata?mode=terminology")).json()

    assert statement["resourceType"] == "TerminologyCapabilities"
    systems = {one["uri"]: one.get("version") for one in statement["codeSystem"]}
    assert systems[GENDER] == [{"code": "4.0.1"}]
    assert "http://unitsofmeasure.org" in systems
    names = {one["name"] for one in statement["expansion"]["parameter"]}
    assert {"tx-resource", "filter", "activeOnly"} <= names
    assert furnished.client.get("/fhir/metadata?mode=none").status_code == 400
    full = must(furnished.client.get("/fhir/metadata?mode=full")).json()
    assert full["resourceType"] == "CapabilityStatement"
