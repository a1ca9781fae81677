"""Ways to say what is searched, over HTTP: `_filter`, value sets, texts, distances, addresses."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.lib.gateway import BASE, House, Session, must, observation, patient

LOINC = "http://loinc.org"
BASE_SET = "http://example.org/base"
TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"


def concept(code: str, display: str, text: str = "") -> dict[str, Any]:
    coding = [{"system": LOINC, "code": code, "display": display}]
    return {"coding": coding, **({"text": text} if text else {})}


def value_set(name: str, **content: Any) -> dict[str, Any]:
    url = f"http://example.org/{name}"
    return {"resourceType": "ValueSet", "id": name, "url": url, "status": "active", **content}


def listed(*codes: str, **more: Any) -> dict[str, Any]:
    return {"system": LOINC, "concept": [{"code": code} for code in codes], **more}


@pytest.fixture
def hospital(furnished: House) -> Session:
    hospital = furnished.system("hospital-a")
    for name, code in (("h", concept("718-7", "Haemoglobin", "Blood count")),
                       ("g", concept("2339-0", "Glucose"))):  # fmt: skip
        hospital.store(observation(name, "laboratory") | {"code": code})
    body = patient("pat-1", "ZA1234560")
    body["identifier"].append(
        {
            "type": {"coding": [{"system": TYPES, "code": "MR"}], "text": "Record number"},
            "system": "https://hospital-a.hk/mrn",
            "value": "77",
        }
    )
    furnished.system("ehr-commons").store(body)
    return hospital


@pytest.fixture
def person(furnished: House, hospital: Session) -> Session:
    return furnished.login("p.pat-1")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("code:text=haemo", "h"),
        ("code:text=blood", "h"),
        ("code:text=globin", ""),
        ("code:text:missing=true", None),
        ("code:not=718-7", "g"),
        ("subject:Patient._filter=gender eq female", None),
        ("_filter=code eq 2339-0", "g"),
        ("_filter=code ne 718-7", "g"),
        (
            "_filter=code eq 718-7 and not (category eq vital-signs) and encounter pr false",
            "h lab-2",
        ),
        ("_filter=(code eq 2339-0 or encounter pr true) and value-quantity gt 13", "g lab-1"),
        ('_filter=patient.name sw "ch" and code eq http://loinc.org|2339-0', "g"),
        ('_filter=patient.name ew "an" and code eq 2339-0', "g"),
        ('_filter=patient.name eq "cha" and code eq 2339-0', ""),
        ("_filter=encounter.class eq IMP", "lab-1"),
        ("_filter=date po 2026-01-06 and code eq 2339-0", "g"),
        (f"subject={BASE}/fhir/Patient/pat-1&code=2339-0", "g"),
        ("subject=Patient/pat-1/_history/3&code=2339-0", "g"),
        ("subject=http://elsewhere.org/fhir/Patient/pat-1", ""),
    ],
)
def test_a_search_says_what_it_means(person: Session, query: str, found: str | None) -> None:
    answer = person.get(f"Observation?{quote(query, safe='=&:')}")

    if found is None:
        assert answer.status_code == 400
        return
    assert answer.status_code == 200, answer.text
    assert [one["resource"]["id"] for one in answer.json().get("entry", ())] == found.split()


def test_an_identifier_is_found_by_its_type(person: Session) -> None:
    by = "Patient?identifier:of-type="

    assert person.ids(f"{by}{TYPES}|MR|77") == ["Patient/pat-1"]
    assert person.ids(f"{by}{TYPES}|MR|78") == []
    assert person.ids(f"{by}{TYPES}|DL|77") == []
    assert person.ids("Patient?identifier=https://hospital-a.hk/mrn|77") == ["Patient/pat-1"]
    assert person.ids("Patient?identifier:text=record") == ["Patient/pat-1"]
    assert person.get(f"{by}MR|77").status_code == 400


@pytest.mark.parametrize(
    ("content", "codes"),
    [
        ({"compose": {"include": [listed("2339-0", "1-1")]}}, "g"),
        ({"compose": {"include": [{"system": LOINC}], "exclude": [listed("718-7")]}}, None),
        ({"compose": {"include": [{"system": LOINC}]}}, "g h"),
        ({"compose": {"include": [listed("718-7", "2339-0")], "exclude": [listed("718-7")]}}, "g"),
        ({"compose": {"include": [{"valueSet": ["http://example.org/base"]}]}}, "h"),
        ({"compose": {"include": [{"system": LOINC, "valueSet": [BASE_SET]}]}}, "h"),
        ({"compose": {"include": [listed("2339-0", valueSet=["http://example.org/base"])]}}, ""),
        ({"expansion": {"timestamp": "2026-01-01", "contains": [
            {"system": LOINC, "code": "718-7", "abstract": True,
             "contains": [{"system": LOINC, "code": "2339-0"}]}]}}, "g"),
        ({"compose": {"include": [{"system": LOINC, "filter": [
            {"property": "concept", "op": "is-a", "value": "x"}]}]}}, None),
        ({"compose": {"include": [{"valueSet": ["http://example.org/this"]}]}}, None),
    ],
)  # fmt: skip
def test_a_token_is_in_a_stored_value_set(
    furnished: House, hospital: Session, content: dict[str, Any], codes: str | None
) -> None:
    platform = furnished.system("ehr-commons")
    platform.store(value_set("base", compose={"include": [listed("718-7")]}))
    platform.store(value_set("this", **content))

    inside = hospital.get("Observation?code:in=http://example.org/this&_id=g,h")
    outside = hospital.get("Observation?code:not-in=ValueSet/this&_id=g,h")

    if codes is None:
        assert (inside.status_code, outside.status_code) == (400, 400)
        assert "value set" in inside.json()["issue"][0]["diagnostics"]
        return
    found = [one["resource"]["id"] for one in inside.json().get("entry", ())]
    rest = [one["resource"]["id"] for one in outside.json().get("entry", ())]
    assert found == codes.split()
    assert sorted(found + rest) == ["g", "h"]


def test_an_unknown_value_set_is_refused(hospital: Session) -> None:
    answer = hospital.get("Observation?code:in=http://example.org/none")

    assert answer.status_code == 400
    assert "no such value set" in answer.json()["issue"][0]["diagnostics"]


def code_system(*concepts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "CodeSystem", "id": "loinc-part", "url": LOINC, "status": "active",
        "content": "complete", "concept": list(concepts), **more,
    }  # fmt: skip


BLOOD = {"code": "blood", "concept": [{"code": "718-7"}, {"code": "sugar"}]}
SUGAR = {"code": "2339-0", "property": [{"code": "parent", "valueCode": "sugar"}]}
FLAT = [
    {"code": "blood", "property": [{"code": "child", "valueCode": "718-7"}]},
    {"code": "718-7"},
    {"code": "2339-0", "property": [{"code": "subsumedBy", "valueCode": "718-7"}]},
]


@pytest.mark.parametrize(
    ("concepts", "query", "found"),
    [
        ([BLOOD, SUGAR], f"code:below={LOINC}|blood", "g h"),
        ([BLOOD, SUGAR], f"code:below={LOINC}|sugar", "g"),
        ([BLOOD, SUGAR], f"code:below={LOINC}|sugar,{LOINC}|718-7", "g h"),
        ([BLOOD, SUGAR], f"code:above={LOINC}|2339-0", "g"),
        (FLAT, f"code:below={LOINC}|blood", "g h"),
        (FLAT, f"code:above={LOINC}|2339-0", "g h"),
        (FLAT, f"code:above={LOINC}|718-7", "h"),
        (FLAT, f'_filter=code sb "{LOINC}|718-7"', "g h"),
        (FLAT, f'_filter=code ss "{LOINC}|718-7"', "h"),
    ],
)
def test_a_code_is_found_above_and_below_others_of_a_stored_code_system(
    furnished: House,
    hospital: Session,
    concepts: list[dict[str, Any]],
    query: str,
    found: str,
) -> None:
    furnished.system("ehr-commons").store(code_system(*concepts))

    answer = hospital.get(f"Observation?{query}&_id=g,h")

    assert answer.status_code == 200, answer.text
    assert [one["resource"]["id"] for one in answer.json().get("entry", ())] == found.split()


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        ({"content": "fragment"}, "blood", "all of its concepts"),
        ({"hierarchyMeaning": "part-of"}, "blood", "do not mean"),
        ({}, "water", "no such code"),
    ],
)
def test_what_a_stored_code_system_does_not_say_is_not_guessed(
    furnished: House, hospital: Session, more: dict[str, Any], code: str, says: str
) -> None:
    furnished.system("ehr-commons").store(code_system(BLOOD, **more))

    answer = hospital.get(f"Observation?code:below={LOINC}|{code}")

    assert answer.status_code == 400
    assert says in answer.json()["issue"][0]["diagnostics"]
    nowhere = hospital.get("Observation?code:below=http://example.org/none|x")
    assert "store the CodeSystem first" in nowhere.json()["issue"][0]["diagnostics"]


@pytest.mark.parametrize(
    ("near", "found"),
    [
        ("22.2819|114.1589", ["Location/central"]),
        ("22.2819|114.1589|3|km", ["Location/central", "Location/kowloon"]),
        ("22.2819|114.1589|1000|m", ["Location/central"]),
        ("22.2819|114.1589|30|[mi_i]", ["Location/central", "Location/kowloon", "Location/tai-po"]),
        ("-22.2819|-65.8411|20100", ["Location/central", "Location/kowloon", "Location/tai-po"]),
        ("0|0|1|km", []),
    ],
)
def test_a_place_is_found_by_its_distance(furnished: House, near: str, found: list[str]) -> None:
    platform = furnished.system("ehr-commons")
    for name, latitude, longitude in (
        ("central", 22.2819, 114.1581),
        ("kowloon", 22.2988, 114.1722),
        ("tai-po", 22.4507, 114.1688),
    ):
        position = {"latitude": latitude, "longitude": longitude}
        platform.store({"resourceType": "Location", "id": name, "position": position})

    small = near if near.count("|") > 1 else f"{near}|1"
    assert platform.ids(f"Location?near={small}") == found
    assert platform.get("Location?near=22.2").status_code == 400
    assert platform.get("Location?near=91|0|1|km").status_code == 400
    assert platform.get("Location?near=1|0|1|parsec").status_code == 400
    assert platform.get("Location?_sort=near").status_code == 400


def test_the_capability_statement_names_what_is_served(furnished: House) -> None:
    rest = furnished.client.get("/fhir/metadata").json()["rest"][0]

    assert {one["name"] for one in rest["searchParam"]} >= {"_filter", "_has", "_list", "_type"}
    assert "http://hl7.org/fhir/CompartmentDefinition/encounter" in rest["compartment"]
    by_type = {one["type"]: one for one in rest["resource"]}
    token = next(one for one in by_type["Patient"]["searchParam"] if one["name"] == "identifier")
    assert ":of-type" in token["documentation"]
    assert any(one["name"] == "near" for one in by_type["Location"]["searchParam"])


@pytest.mark.parametrize(
    "query", ["_contained=true", "_contained=both", "_containedType=contained"]
)
def test_contained_matches_are_refused_or_passed_over_by_prefer(
    furnished: House, query: str
) -> None:
    hospital = furnished.system("hospital-a")
    address = "Observation?code=718-7&_contained=false"
    assert len(hospital.ids(address)) == 3

    refused = hospital.get(f"{address}&{query}")
    assert refused.status_code == 400
    assert query.partition("=")[0] in refused.json()["issue"][0]["diagnostics"]
    lenient = must(hospital.get(f"{address}&{query}", headers={"Prefer": "handling=lenient"}))
    matches = [one for one in lenient.json()["entry"] if one["search"]["mode"] == "match"]
    assert len(matches) == 3
