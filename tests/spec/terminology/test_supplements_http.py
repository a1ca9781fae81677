"""Supplements of code systems: names that count where they are asked for, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_fhir.terminology.code_system import MemoryCodeSystem, Selection
from ehr_fhir.terminology.supplements import SupplementedSystem
from tests.lib.gateway import House, Session, must

GENDER = "http://hl7.org/fhir/administrative-gender"
NAMES, OLD = "http://example.org/names", "http://example.org/names-of-another-version"
NEEDS = "http://hl7.org/fhir/StructureDefinition/valueset-supplement"
SUPPLEMENT: dict[str, Any] = {
    "resourceType": "CodeSystem", "id": "names", "url": NAMES, "version": "1", "status": "active",
    "content": "supplement", "supplements": GENDER, "language": "zh-Hant",
    "concept": [
        {"code": "female", "display": "女",
         "designation": [{"language": "de", "value": "weiblich"}]},
        {"code": "none-such", "display": "無"},
    ],
}  # fmt: skip
VALUE_SET: dict[str, Any] = {
    "resourceType": "ValueSet", "status": "active", "compose": {"include": [{"system": GENDER}]},
}  # fmt: skip
NEEDING = {**VALUE_SET, "extension": [{"url": NEEDS, "valueCanonical": f"{NAMES}|1"}]}


@pytest.fixture
def doctor(furnished: House) -> Session:
    """Return a doctor's session where a supplement of R4's own code system is stored."""
    platform = furnished.system("ehr-commons")
    platform.store(SUPPLEMENT)
    platform.store({**SUPPLEMENT, "id": "old", "url": OLD, "supplements": f"{GENDER}|3.0.0"})
    return furnished.login("doctor.a")


def call(session: Session, address: str, **parameters: Any) -> Any:
    kinds = {bool: "valueBoolean", str: "valueString", int: "valueInteger", dict: "resource"}
    sent = [
        {"name": name.replace("_", "-"), kinds[type(value)]: value}
        for name, value in parameters.items()
    ]
    return session.post(address, {"resourceType": "Parameters", "parameter": sent})


def expanded(session: Session, value_set: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = must(call(session, "ValueSet/$expand", valueSet=value_set, **more)).json()
    return {one["code"]: one for one in answer["expansion"].get("contains", [])}


def test_a_supplement_counts_where_the_call_or_the_value_set_names_it(doctor: Session) -> None:
    chinese = {"displayLanguage": "zh"}
    assert expanded(doctor, VALUE_SET, **chinese)["female"]["display"] == "Female"
    assert expanded(doctor, NEEDING, **chinese)["female"]["display"] == "女"
    named = expanded(doctor, VALUE_SET, useSupplement=NAMES, includeDesignations=True)
    added = [(one.get("language"), one["value"]) for one in named["female"].get("designation", [])]
    assert {("zh-Hant", "女"), ("de", "weiblich")} <= set(added)
    assert "none-such" not in named
    other_version = expanded(doctor, VALUE_SET, useSupplement=OLD, **chinese)
    assert other_version["female"]["display"] == "Female"


def test_an_expansion_names_the_supplements_and_finds_codes_by_their_words(
    doctor: Session,
) -> None:
    answer = must(call(doctor, "ValueSet/$expand", valueSet=NEEDING)).json()
    used = {"name": "used-supplement", "valueUri": f"{NAMES}|1"}
    assert used in answer["expansion"]["parameter"]
    assert [*expanded(doctor, NEEDING, filter="weib")] == ["female"]
    assert [*expanded(doctor, VALUE_SET, filter="weib")] == []


def test_a_code_is_looked_up_and_validated_by_the_added_names(doctor: Session) -> None:
    looked_up = {"system": GENDER, "code": "female", "displayLanguage": "de"}
    for more, name in (({}, "Female"), ({"useSupplement": NAMES}, "weiblich")):
        answer = must(call(doctor, "CodeSystem/$lookup", **looked_up, **more)).json()
        assert {"name": "display", "valueString": name} in answer["parameter"]

    coded = {"system": GENDER, "code": "female", "display": "女"}
    for value_set, is_valid in ((VALUE_SET, False), (NEEDING, True)):
        answer = must(call(doctor, "ValueSet/$validate-code", valueSet=value_set, **coded)).json()
        assert answer["parameter"][0] == {"name": "result", "valueBoolean": is_valid}


def test_a_supplement_that_comes_along_needs_not_be_stored(furnished: House) -> None:
    sent = {"tx_resource": {**SUPPLEMENT, "url": "http://example.org/sent"}}
    found = expanded(
        furnished.login("doctor.a"), VALUE_SET,
        useSupplement="http://example.org/sent", displayLanguage="zh", **sent,
    )  # fmt: skip
    assert found["female"]["display"] == "女"


@pytest.mark.parametrize("name", ["http://example.org/none", f"{NAMES}|2", GENDER])
def test_a_supplement_that_is_not_here_is_said_to_be_missing(doctor: Session, name: str) -> None:
    """HL7's terminology ecosystem tests: extensions, bad-supplement."""
    needing = {**VALUE_SET, "extension": [{"url": NEEDS, "valueCanonical": name}]}
    coded = {"system": GENDER, "code": "female"}
    answers = [
        call(doctor, "ValueSet/$expand", valueSet=needing),
        call(doctor, "ValueSet/$expand", valueSet=VALUE_SET, useSupplement=name),
        call(doctor, "ValueSet/$validate-code", valueSet=needing, **coded),
        call(doctor, "CodeSystem/$lookup", useSupplement=name, **coded),
    ]
    for answer in answers:
        assert answer.status_code == 422
        assert answer.json()["issue"][0]["code"] == "not-found"


def test_pages_of_what_is_found_by_words_of_both_are_whole() -> None:
    resource = {
        "url": "urn:x", "content": "complete",
        "concept": [{"code": f"c{number}", "display": "heart" if number % 2 else "lung",
                     "property": [{"code": "inactive", "valueBoolean": number == 4}]}
                    for number in range(6)],
    }  # fmt: skip
    names = [{"code": f"c{number}", "display": "heart too"} for number in range(5)]
    system = SupplementedSystem(MemoryCodeSystem(resource), [{"concept": names}])

    found = ["c1", "c3", "c5", "c0", "c2", "c4"]
    selection = Selection(words=("heart",))
    assert [one.code for one in system.select(selection)] == found
    assert system.count(selection) == 6
    pages = [
        [one.code for one in system.select(Selection(words=("heart",), offset=at, limit=2))]
        for at in (0, 2, 4)
    ]
    assert pages == [found[at : at + 2] for at in (0, 2, 4)]
    active = Selection(words=("heart",), active_only=True)
    assert system.count(active) == 5


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("name", "resource"),
    [
        ("valueSet", {**VALUE_SET, "compose": "x"}),
        ("valueSet", {**VALUE_SET, "extension": ["x"]}),
        ("tx-resource", {**SUPPLEMENT, "concept": "x"}),
        ("tx-resource", {**SUPPLEMENT, "supplements": 5}),
        ("tx-resource", {**SUPPLEMENT, "concept": [{"code": "female", "designation": "x"}]}),
        ("tx-resource", {**SUPPLEMENT, "concept": [{"code": "male", "designation": [{}]}]}),
        ("tx-resource", {"url": NAMES}),
    ],
)
def test_a_resource_that_is_none_is_refused(
    furnished: House, name: str, resource: dict[str, Any]
) -> None:
    sent = [{"name": name, "resource": resource}, {"name": "useSupplement", "valueString": NAMES}]
    if name != "valueSet":
        sent.append({"name": "valueSet", "resource": VALUE_SET})
    body = {"resourceType": "Parameters", "parameter": sent}
    answer = furnished.login("doctor.a").post("ValueSet/$expand", body)

    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
