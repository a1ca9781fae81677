"""Which codes are in which value sets: R4's own, and some that a test makes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ehr_fhir.errors import EhrError, TooCostly, Unprocessable
from ehr_fhir.terminology import CodeMembership
from ehr_fhir.terminology.code_system import ConceptFilter, MemoryCodeSystem, Selection
from ehr_fhir.terminology.concepts import search_words
from ehr_fhir.terminology.library import LayeredLibrary, ResourceLibrary
from ehr_fhir.terminology.r4 import R4_LIBRARY
from ehr_fhir.terminology.value_sets import find_value_set, resolve_value_set

HL7 = "http://hl7.org/fhir/ValueSet"
ANIMALS, SET = "http://example.org/animals", "http://example.org/set"
CAT = {
    "code": "Cat",
    "display": "Cat",
    "designation": [{"language": "zh-Hant", "value": "家貓"}],
    "property": [{"code": "legs", "valueInteger": 4}],
    "concept": [{"code": "lion", "display": "Lion of Asia"}],
}
DODO = {"code": "dodo", "display": "Dodo", "property": [{"code": "status", "valueCode": "retired"}]}
# The fish is in two places: its second parent is named by a property.
FISH = {"code": "fish", "property": [{"code": "parent", "valueCode": "Cat"}]}
SYSTEM = {
    "resourceType": "CodeSystem", "url": ANIMALS, "version": "1", "content": "complete",
    "concept": [
        {
            "code": "animal",
            "property": [{"code": "notSelectable", "valueBoolean": True}],
            "concept": [CAT, DODO, FISH],
        },
        {"code": "stone", "display": "Stone"},
    ],
}  # fmt: skip


def codes_of(*include: dict[str, Any], exclude: tuple[dict[str, Any], ...] = ()) -> str:
    """Return the codes of the system that are in a value set, in the order of the system."""
    compose = {"include": list(include), **({"exclude": list(exclude)} if exclude else {})}
    value_set = {"resourceType": "ValueSet", "url": SET, "compose": compose}
    library = LayeredLibrary(ResourceLibrary([SYSTEM, value_set]), R4_LIBRARY)
    resolved = resolve_value_set(value_set, library)
    concepts = MemoryCodeSystem(SYSTEM).select(Selection())
    return " ".join(one.code for one in concepts if resolved.holds(ANIMALS, one.code) == "yes")


def filtered(name: str, operator: str, value: str) -> dict[str, Any]:
    return {"system": ANIMALS, "filter": [{"property": name, "op": operator, "value": value}]}


@pytest.mark.parametrize(
    ("part", "codes"),
    [
        ({"system": ANIMALS}, "animal Cat lion dodo fish stone"),
        ({"system": ANIMALS, "concept": [{"code": "CAT"}, {"code": "none"}]}, "Cat"),
        (filtered("concept", "is-a", "cat"), "Cat lion fish"),
        (filtered("concept", "descendent-of", "Cat"), "lion fish"),
        (filtered("concept", "is-not-a", "Cat"), "animal dodo stone"),
        (filtered("concept", "generalizes", "lion"), "animal Cat lion"),
        (filtered("concept", "in", "lion, STONE"), "lion stone"),
        (filtered("code", "not-in", "lion,stone"), "animal Cat dodo fish"),
        (filtered("legs", "=", "4"), "Cat"),
        (filtered("legs", "exists", "true"), "Cat"),
        (filtered("legs", "exists", "false"), "animal lion dodo fish stone"),
        (filtered("display", "regex", "(Lion|Dod).*"), "lion dodo"),
        (filtered("code", "regex", "[a-f].*"), "animal dodo fish"),
        (filtered("parent", "=", "Cat"), "lion fish"),
        (filtered("status", "=", "retired"), "dodo"),
        (filtered("inactive", "=", "true"), "dodo"),
        (filtered("notSelectable", "=", "true"), "animal"),
    ],
)
def test_a_part_of_a_value_set_holds_what_it_says(part: dict[str, Any], codes: str) -> None:
    assert codes_of(part) == codes


def test_what_is_excluded_is_not_in_a_value_set() -> None:
    without = codes_of({"system": ANIMALS}, exclude=(filtered("concept", "is-a", "Cat"),))

    assert without == "animal dodo stone"


@pytest.mark.parametrize(
    "part",
    [
        filtered("concept", "like", "Cat"),
        filtered("concept", "is-a", "none"),
        filtered("legs", "is-a", "Cat"),
        filtered("code", "regex", "("),
        filtered("legs", "exists", "perhaps"),
        {"valueSet": ["http://example.org/none"]},
        {"valueSet": [SET]},
        {"filter": [{"property": "legs", "op": "=", "value": "4"}]},
        {},
    ],
)
def test_a_faulty_part_is_refused_and_never_guessed(part: dict[str, Any]) -> None:
    with pytest.raises(EhrError):
        codes_of(part)


def test_several_parts_of_one_include_are_an_intersection() -> None:
    both = {"system": ANIMALS, "valueSet": ["http://example.org/listed"]}
    listed = {
        "resourceType": "ValueSet",
        "url": "http://example.org/listed",
        "compose": {"include": [{"system": ANIMALS, "concept": [{"code": "lion"}]}]},
    }
    value_set = {"resourceType": "ValueSet", "url": SET, "compose": {"include": [both]}}
    codes = CodeMembership(ResourceLibrary([SYSTEM, value_set, listed]))

    assert codes.holds(SET, ANIMALS, "lion") == "yes"
    assert codes.holds(SET, ANIMALS, "stone") == "no"


@pytest.mark.parametrize(
    ("value_set", "system", "code", "answer"),
    [
        (f"{HL7}/administrative-gender", None, "female", "yes"),
        (f"{HL7}/administrative-gender|4.0.1", None, "Female", "no"),
        (f"{HL7}/administrative-gender|9", None, "female", "unknown"),
        (f"{HL7}/all-languages", None, "zh-Hant-HK", "yes"),
        (f"{HL7}/mimetypes", None, "text/plain", "yes"),
        (f"{HL7}/mimetypes", None, "plain", "no"),
        (f"{HL7}/ucum-units", "http://unitsofmeasure.org", "mg/dL", "yes"),
        (f"{HL7}/ucum-units", "http://unitsofmeasure.org", "mmHgg", "no"),
        (f"{HL7}/units-of-time", None, "min", "yes"),
        (f"{HL7}/observation-codes", "http://loinc.org", "718-7", "unknown"),
        (f"{HL7}/observation-codes", "urn:other", "718-7", "no"),
        ("http://example.org/none", None, "x", "unknown"),
    ],
)
def test_a_code_is_in_a_value_set_of_r4_or_not_or_nobody_knows(
    value_set: str, system: str | None, code: str, answer: str
) -> None:
    assert CodeMembership().holds(value_set, system, code) == answer


def test_every_value_set_that_is_shipped_can_be_resolved() -> None:
    resolved, faulty = 0, []
    for url in R4_LIBRARY.value_set_urls():
        try:
            resolve_value_set(find_value_set(R4_LIBRARY, url), R4_LIBRARY)
            resolved += 1
        except Unprocessable:
            faulty.append(url)

    assert resolved > 1000
    # They import one that lists another owner's codes and is not shipped.
    assert len(faulty) < 12, faulty


def test_no_code_of_another_owner_is_shipped() -> None:
    for url in R4_LIBRARY.value_set_urls():
        compose = find_value_set(R4_LIBRARY, url)["compose"]
        for part in (*compose["include"], *compose.get("exclude", ())):
            if "snomed" in part.get("system", "") or "loinc" in part.get("system", ""):
                assert not {"concept", "filter"} & part.keys()


@pytest.mark.parametrize(
    ("typed", "codes"),
    [
        ("as lio", "lion"),
        ("貓", "Cat"),
        ("家猫", "Cat"),
        ("ST", "stone"),
        ("tone", ""),
        ("cat lion", ""),
    ],
)
def test_words_find_a_concept_by_their_beginnings(typed: str, codes: str) -> None:
    found = MemoryCodeSystem(SYSTEM).select(Selection(words=search_words(typed)))

    assert " ".join(one.code for one in found) == codes


def test_a_hostile_pattern_and_a_deep_system_end() -> None:
    nested: dict[str, Any] = {"code": "0"}
    for depth in range(1, 5000):
        nested = {"code": str(depth), "concept": [nested]}
    deep = MemoryCodeSystem({**SYSTEM, "concept": [nested]})

    assert deep.is_below("0", "4999")
    assert codes_of(filtered("display", "regex", "(S|St|o|n|e)+x")) == ""


def test_value_sets_that_import_each_other_by_many_ways_are_refused_at_once() -> None:
    sets = [
        {
            "resourceType": "ValueSet",
            "url": f"urn:set:{number}",
            "compose": {"include": [{"valueSet": [f"urn:set:{number + 1}"]}] * 40},
        }
        for number in range(12)
    ]
    compose = {"include": [{"system": ANIMALS}]}
    last = {"resourceType": "ValueSet", "url": "urn:set:12", "compose": compose}

    with pytest.raises(TooCostly):
        resolve_value_set(sets[0], ResourceLibrary([SYSTEM, *sets, last]))


def test_a_long_chain_of_concepts_is_filtered_in_time() -> None:
    chain = [
        {"code": f"c{number}", "property": [{"code": "parent", "valueCode": f"c{number - 1}"}]}
        for number in range(1, 20_000)
    ]
    system = MemoryCodeSystem({**SYSTEM, "concept": [{"code": "c0"}, *chain]})
    below = (ConceptFilter("concept", "is-a", "c5"),)

    begun = time.process_time()
    assert system.count(Selection(below)) == 19_995
    # A walk for each concept would take minutes.
    assert time.process_time() - begun < 10


def test_an_expensive_pattern_is_refused() -> None:
    with pytest.raises(TooCostly):
        codes_of(filtered("display", "regex", "(a?){900}b"))
