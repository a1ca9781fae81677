"""The operations of terminology: what each answers, and what it refuses with which status."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, Session, must

R4, V3 = "http://hl7.org/fhir", "http://terminology.hl7.org/CodeSystem"
GENDER = f"{R4}/administrative-gender"
ANIMALS, PETS = "http://example.org/animals", "http://example.org/pets"
ADULT = {"code": "adult", "display": "Adult cat", "definition": "A cat of a year and more."}
CAT = {
    "code": "cat", "display": "Cat",
    "designation": [
        {"language": "zh-Hant", "value": "家貓"},
        {"language": "de", "use": {"system": "urn:use", "code": "short"}, "value": "Katze"},
    ],
    "property": [{"code": "legs", "valueInteger": 4}, {"code": "mass", "valueDecimal": 4.50}],
    "concept": [ADULT, {"code": "kitten", "display": "Kitten"}],
}  # fmt: skip
DODO = {"code": "dodo", "display": "Dodo", "property": [{"code": "status", "valueCode": "retired"}]}
PET = {
    "code": "pet",
    "display": "Pets",
    "property": [{"code": "notSelectable", "valueBoolean": True}],
}
SYSTEM = {
    "resourceType": "CodeSystem", "id": "animals", "url": ANIMALS, "version": "1.9",
    "name": "Animals", "status": "active", "content": "complete", "caseSensitive": True,
    "concept": [{**PET, "concept": [CAT]}, DODO],
}  # fmt: skip
PETS_SET = {
    "resourceType": "ValueSet", "id": "pets", "url": PETS, "status": "active",
    "compose": {
        "include": [{
            "system": ANIMALS, "filter": [{"property": "concept", "op": "is-a", "value": "pet"}],
        }],
        "exclude": [{"system": ANIMALS, "concept": [{"code": "kitten"}]}],
    },
}  # fmt: skip
# Its url is R4's own: it is never asked in R4's place.
FALSE_GENDER = {
    "resourceType": "CodeSystem", "id": "false", "url": GENDER, "status": "active",
    "version": "9", "content": "complete", "concept": [{"code": "martian"}],
}  # fmt: skip
TO_R4 = {
    "resourceType": "ConceptMap", "id": "to-r4", "url": "http://example.org/to-r4",
    "status": "active", "sourceUri": PETS, "targetUri": "http://example.org/targets",
    "group": [{
        "source": ANIMALS, "target": "urn:other",
        "element": [
            {"code": "cat", "target": [
                {"code": "C", "display": "Feline", "equivalence": "wider",
                 "product": [{"property": "urn:p", "system": "urn:q", "value": "7"}]},
            ]},
            {"code": "dodo", "target": [{"equivalence": "unmatched"}]},
        ],
        "unmapped": {"mode": "fixed", "code": "U", "display": "Other"},
    }],
}  # fmt: skip


@pytest.fixture
def session(furnished: House) -> Session:
    """Return a doctor's session at a house where some terminology is stored."""
    platform = furnished.system("ehr-commons")
    for resource in (SYSTEM, PETS_SET, FALSE_GENDER, TO_R4):
        platform.store(resource)
    return furnished.login("doctor.a")


def sent(**values: Any) -> dict[str, Any]:
    """Return Parameters of values by the name of their parameter, `_` for a hyphen."""
    parameters = []
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            parameters.append({"name": name.replace("_", "-"), **typed(one)})
    return {"resourceType": "Parameters", "parameter": parameters}


def typed(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        if "resourceType" in value:
            return {"resource": value}
        return {"valueCodeableConcept" if "coding" in value else "valueCoding": value}
    kind = {bool: "valueBoolean", int: "valueInteger"}.get(type(value), "valueString")
    return {kind: value}


def outputs(answer: Any) -> dict[str, Any]:
    """Return the output parameters by name, those that repeat as a list of the last word."""
    must(answer)
    found: dict[str, Any] = {}
    for one in answer.json()["parameter"]:
        value = next((one[key] for key in one if key.startswith("value")), one.get("part"))
        found.setdefault(one["name"], []).append(one.get("resource", value))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def codes(answer: Any) -> str:
    """Return the codes of an expansion; those of a level in brackets."""
    must(answer)

    def of(entries: list[dict[str, Any]]) -> str:
        return " ".join(
            one["code"] + (f"({of(one['contains'])})" if "contains" in one else "")
            for one in entries
        )

    return of(answer.json()["expansion"].get("contains", []))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (f"url={R4}/ValueSet/administrative-gender", "male female other unknown"),
        (f"url={R4}/ValueSet/administrative-gender|4.0.1&filter=fem", "female"),
        (f"url={R4}/ValueSet/administrative-gender&offset=1&count=2", "female other"),
        (f"url={R4}/ValueSet/administrative-gender&count=0", ""),
        (f"url={PETS}", "pet cat adult"),
        (f"url={PETS}&excludeNotForUI=true", "cat adult"),
        (f"url={PETS}&filter=cat&offset=1", "adult"),
        (f"url={PETS}&filter=貓", "cat"),
        (f"url={PETS}&exclude-system={ANIMALS}", ""),
    ],
)
def test_a_value_set_is_expanded(session: Session, query: str, found: str) -> None:
    assert codes(session.get(f"ValueSet/$expand?{query}")) == found


def test_an_expansion_says_how_it_was_made(session: Session) -> None:
    url = f"url={PETS}&filter=cat&count=1&displayLanguage=zh&includeDesignations=true"
    answer = must(session.get(f"ValueSet/$expand?{url}")).json()

    expansion = answer["expansion"]
    assert (answer["url"], expansion["total"], expansion["offset"]) == (PETS, 2, 0)
    assert "compose" not in answer
    names = {one["name"]: one for one in expansion["parameter"]}
    assert names["filter"]["valueString"] == "cat"
    assert names["used-codesystem"]["valueUri"] == f"{ANIMALS}|1.9"
    entry = expansion["contains"][0]
    assert (entry["display"], len(entry["designation"])) == ("家貓", 2)
    short = must(session.get(f"ValueSet/$expand?{url}&designation=urn:use|short")).json()
    assert [one["value"] for one in short["expansion"]["contains"][0]["designation"]] == ["Katze"]
    german = session.get(f"ValueSet/$expand?url={PETS}", headers={"Accept-Language": "de-AT, en"})
    assert german.json()["expansion"]["contains"][1]["display"] == "Katze"


def test_a_whole_code_system_is_shown_in_its_levels(session: Session) -> None:
    whole = {"resourceType": "ValueSet", "url": "urn:all", "status": "active",
             "compose": {"include": [{"system": ANIMALS}]}}  # fmt: skip
    nested = session.post("ValueSet/$expand", sent(valueSet=whole))

    assert codes(nested) == "pet(cat(adult kitten)) dodo"
    assert nested.json()["expansion"]["contains"][1]["inactive"] is True
    flat = session.post("ValueSet/$expand", sent(valueSet=whole, excludeNested=True))
    assert codes(flat) == "pet cat adult kitten dodo"
    active = session.post(
        "ValueSet/$expand", sent(valueSet=whole, excludeNested=True, activeOnly=True)
    )
    assert codes(active) == "pet cat adult kitten"
    assert codes(session.get("ValueSet/pets/$expand?includeDefinition=true")) == "pet cat adult"


def test_what_a_request_brings_along_is_taken_as_if_it_were_here(session: Session) -> None:
    brought = {**SYSTEM, "version": "2", "concept": [PET, {"code": "owl", "display": "Owl"}]}
    whole = {"resourceType": "ValueSet", "url": "urn:all", "status": "active",
             "compose": {"include": [{"system": ANIMALS}]}}  # fmt: skip

    both = session.post("ValueSet/$expand", sent(url="urn:all", tx_resource=[brought, whole]))
    assert codes(both) == "pet owl"
    old = sent(url="urn:all", tx_resource=[brought, whole], system_version=f"{ANIMALS}|1.9")
    assert codes(session.post("ValueSet/$expand", old)) == "pet(cat(adult kitten)) dodo"
    check = sent(url="urn:all", tx_resource=[brought, whole], check_system_version=f"{ANIMALS}|1.9")
    assert session.post("ValueSet/$expand", check).status_code == 422
    assert session.get("ValueSet/$expand?url=urn:all").status_code == 404


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ("ValueSet/$expand?url=http://example.org/none", 404, "not-found"),
        (f"ValueSet/$expand?url={PETS}|7", 404, "not-found"),
        ("ValueSet/$expand", 400, "invalid"),
        (f"ValueSet/$expand?url={PETS}&count=x", 400, "invalid"),
        (f"ValueSet/$expand?url={PETS}&count=-1", 422, "processing"),
        (f"ValueSet/$expand?url={PETS}&activeOnly=perhaps", 400, "invalid"),
        (f"ValueSet/$expand?url={PETS}&colour=red", 400, "invalid"),
        (f"ValueSet/$expand?url={R4}/ValueSet/all-languages", 413, "too-costly"),
        (f"ValueSet/$expand?url={R4}/ValueSet/observation-codes", 422, "not-found"),
        ("ValueSet/none/$expand", 404, "not-found"),
        ("CodeSystem/$lookup?system=urn:none&code=x", 404, "not-found"),
        (f"CodeSystem/$lookup?system={GENDER}&code=martian", 404, "not-found"),
        (f"CodeSystem/$lookup?system={GENDER}&code=female&version=7", 404, "not-found"),
        ("CodeSystem/$lookup?code=x", 400, "invalid"),
        (f"CodeSystem/$lookup?system={GENDER}", 400, "invalid"),
        ("ValueSet/$validate-code?url=http://example.org/none&code=x", 404, "not-found"),
        (f"ValueSet/$validate-code?url={PETS}", 400, "invalid"),
        (f"CodeSystem/$subsumes?system={ANIMALS}&codeA=cat&codeB=none", 404, "not-found"),
        (f"CodeSystem/$subsumes?system={ANIMALS}&codeA=cat", 400, "invalid"),
        ("CodeSystem/$subsumes?system=urn:none&codeA=cat&codeB=dog", 404, "not-found"),
        ("ConceptMap/$translate?url=urn:none&system=urn:x&code=x", 404, "not-found"),
        ("ConceptMap/$translate?code=x", 400, "invalid"),
    ],
)
def test_what_cannot_be_answered_has_the_right_status(
    session: Session, asked: str, status: int, code: str
) -> None:
    answer = session.get(asked)

    assert answer.status_code == status, answer.text
    assert answer.json()["issue"][0]["code"] == code
    assert "martian" not in answer.text


def test_a_code_is_looked_up(session: Session) -> None:
    address = f"CodeSystem/$lookup?system={ANIMALS}&code=cat"
    found = outputs(session.get(address))

    assert (found["name"], found["version"], found["display"]) == ("Animals", "1.9", "Cat")
    assert found["abstract"] is False
    assert [one[-1]["valueString"] for one in found["designation"]] == ["家貓", "Katze"]
    properties = [
        (one[0]["valueCode"], next(iter(list(one[1].values())[1:]))) for one in found["property"]
    ]
    assert properties == [
        ("inactive", False), ("parent", "pet"), ("child", "adult"), ("child", "kitten"),
        ("legs", 4), ("mass", 4.5),
    ]  # fmt: skip
    assert "designation" not in outputs(session.get(f"{address}&property=legs"))
    coding = {"system": ANIMALS, "code": "adult"}
    adult = outputs(session.post("CodeSystem/$lookup", sent(coding=coding, displayLanguage="fr")))
    assert adult["definition"] == "A cat of a year and more."
    assert outputs(session.get(f"{address}&displayLanguage=de"))["display"] == "Katze"


PETS_CODE = f"ValueSet/$validate-code?url={PETS}&system={ANIMALS}&code="


ANIMALS_CODE = f"CodeSystem/$validate-code?url={ANIMALS}&code="
UCUM_CODE = "CodeSystem/$validate-code?url=http://unitsofmeasure.org&code="
PETS_BY_CODE = f"ValueSet/$validate-code?url={PETS}&code="


@pytest.mark.parametrize(
    ("asked", "result", "kinds"),
    [
        (f"{PETS_CODE}cat", True, []),
        (f"{PETS_CODE}cat&display=CAT", True, []),
        (f"{PETS_CODE}cat&display=家貓", True, []),
        (f"{PETS_CODE}cat&display=Dog", False, ["invalid-display"]),
        (f"{PETS_CODE}Cat", False, ["invalid-code"]),
        (f"{PETS_CODE}kitten", False, ["not-in-vs"]),
        (f"{PETS_CODE}dodo", False, ["not-in-vs", "code-rule"]),
        (f"{PETS_CODE}pet", True, []),
        (f"{PETS_CODE}pet&abstract=false", False, ["code-rule"]),
        (f"{PETS_BY_CODE}cat", False, ["invalid-data"]),
        (f"{PETS_BY_CODE}cat&inferSystem=true", True, []),
        (f"{PETS_BY_CODE}owl&inferSystem=true", False, ["cannot-infer"]),
        (
            f"ValueSet/$validate-code?url={PETS}&system=urn:none&code=cat",
            False,
            ["not-in-vs", "not-found"],
        ),
        ("ValueSet/pets/$validate-code?system=http://example.org/animals&code=adult", True, []),
        (f"CodeSystem/$validate-code?url={GENDER}&code=female", True, []),
        (f"CodeSystem/$validate-code?url={GENDER}&code=martian", False, ["invalid-code"]),
        (f"{ANIMALS_CODE}dodo", True, ["code-rule"]),
        (
            f"CodeSystem/$validate-code?url={ANIMALS}&code=dodo&activeOnly=true",
            False,
            ["code-rule"],
        ),
        ("CodeSystem/$validate-code?url=urn:none&code=x", False, ["not-found"]),
        ("CodeSystem/animals/$validate-code?code=cat", True, []),
        (f"{UCUM_CODE}mg/dL", True, []),
        (
            "CodeSystem/$validate-code?url=http://unitsofmeasure.org&code=mgg",
            False,
            ["invalid-code"],
        ),
    ],
)
def test_a_code_is_validated(session: Session, asked: str, result: bool, kinds: list[str]) -> None:
    found = outputs(session.get(asked))

    issues = found.get("issues", {"issue": []})["issue"]
    assert found["result"] is result
    assert [one["details"]["coding"][0]["code"] for one in issues] == kinds
    assert result or found["message"]
    unknown = "urn:none" if "urn:none" in asked else None
    assert found.get("x-caused-by-unknown-system") == unknown


def test_one_code_of_several_is_enough(session: Session) -> None:
    codings = [{"system": "urn:x", "code": "1"}, {"system": ANIMALS, "code": "cat"}]
    answer = session.post(
        "ValueSet/$validate-code", sent(url=PETS, codeableConcept={"coding": codings})
    )
    found = outputs(answer)
    assert (found["result"], found["code"], found["display"]) == (True, "cat", "Cat")

    none = outputs(session.post(
        "ValueSet/$validate-code", sent(url=PETS, codeableConcept={"coding": codings[:1]})
    ))  # fmt: skip
    assert none["result"] is False
    assert none["issues"]["issue"][0]["expression"] == ["codeableConcept.coding[0]"]


@pytest.mark.parametrize(
    ("one", "other", "outcome"),
    [
        ("pet", "adult", "subsumes"),
        ("adult", "cat", "subsumed-by"),
        ("cat", "cat", "equivalent"),
        ("cat", "dodo", "not-subsumed"),
    ],
)
def test_one_code_subsumes_another(session: Session, one: str, other: str, outcome: str) -> None:
    for place in (f"CodeSystem/$subsumes?system={ANIMALS}&", "CodeSystem/animals/$subsumes?"):
        assert outputs(session.get(f"{place}codeA={one}&codeB={other}")) == {"outcome": outcome}
    codings = [{"system": ANIMALS, "code": code} for code in (one, other)]
    answer = session.post("CodeSystem/$subsumes", sent(codingA=codings[0], codingB=codings[1]))
    assert outputs(answer) == {"outcome": outcome}


@pytest.mark.parametrize(
    ("query", "result", "matches"),
    [
        (f"system={ANIMALS}&code=cat", True, ["wider urn:other|C"]),
        (f"system={ANIMALS}&code=cat&targetsystem=urn:none", False, []),
        (f"system={ANIMALS}&code=dodo", False, ["unmatched"]),
        (f"url={TO_R4['url']}&system={ANIMALS}&code=adult", True, ["inexact urn:other|U"]),
        ("system=urn:other&code=C&reverse=true", True, [f"narrower {ANIMALS}|cat"]),
        (f"url={R4}/ConceptMap/cm-administrative-gender-v3&system={GENDER}&code=female", True,
         [f"equal {V3}/v3-AdministrativeGender|F"]),
        (f"system={ANIMALS}&code=cat&source={PETS}", True, ["wider urn:other|C"]),
        (f"system={ANIMALS}&code=cat&target={PETS}", False, []),
        ("system=urn:x&code=none", False, []),
    ],
)  # fmt: skip
def test_a_code_is_translated(
    session: Session, query: str, result: bool, matches: list[str]
) -> None:
    answer = session.get(f"ConceptMap/$translate?{query}")

    must(answer)
    found = []
    for one in answer.json()["parameter"]:
        if one["name"] == "match":
            parts = {part["name"]: part for part in one["part"]}
            coding = parts.get("concept", {}).get("valueCoding")
            words = [parts["equivalence"]["valueCode"]]
            found.append(
                " ".join([*words, *([f"{coding['system']}|{coding['code']}"] if coding else [])])
            )
    assert (answer.json()["parameter"][0]["valueBoolean"], found) == (result, matches)


def test_a_token_that_may_not_search_terminology_asks_nothing(furnished: House) -> None:
    doctor = furnished.login("doctor.a", "user/Patient.rs")
    for address in ("ValueSet/$expand", "CodeSystem/$lookup", "ConceptMap/$translate"):
        assert doctor.get(address).status_code == 403
        assert doctor.post(address, sent(url=PETS)).status_code == 403


@pytest.mark.parametrize(
    ("login", "asks", "writes"),
    [
        ("p.pat-1", True, False),
        ("doctor.a", True, False),
        ("steward", True, False),
        ("admin", True, True),
        ("auditor", False, False),
        ("researcher", False, False),
        ("", True, True),
    ],
)
def test_who_asks_and_who_writes(furnished: House, login: str, asks: bool, writes: bool) -> None:
    person = furnished.login(login) if login else furnished.system("hospital-a")
    body = {key: value for key, value in SYSTEM.items() if key != "id"}

    asked = person.get(f"ValueSet/$expand?url={R4}/ValueSet/administrative-gender")
    written = person.post("CodeSystem", body)

    assert (asked.status_code == 200, written.status_code == 201) == (asks, writes)
    assert {asked.status_code, written.status_code} <= {200, 201, 403}
