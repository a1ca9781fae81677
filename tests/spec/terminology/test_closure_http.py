"""`$closure`: what is above what among the codes that a program adds, step by step."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, Session, must

ANIMALS = "http://example.org/animals"
FLAT = "http://example.org/flat"
SYSTEM = {
    "resourceType": "CodeSystem", "id": "animals", "url": ANIMALS, "status": "active",
    "version": "1", "content": "complete",
    "concept": [
        {"code": "animal", "concept": [
            {"code": "pet", "concept": [{"code": "cat"}]},
            {"code": "mammal", "concept": [{"code": "dog"}]},
        ]},
        {"code": "cow", "property": [{"code": "parent", "valueCode": "mammal"}]},
    ],
}  # fmt: skip
LEVELS = {
    **SYSTEM, "id": "flat", "url": FLAT, "hierarchyMeaning": "grouped-by",
}  # fmt: skip


@pytest.fixture
def program(furnished: House) -> Session:
    """Return a program, in a store that has a code system with levels."""
    platform = furnished.system("ehr-commons")
    platform.store(SYSTEM)
    platform.store(LEVELS)
    return furnished.system("hospital-a")


def close(session: Session, name: str = "problems", *codes: str, **more: Any) -> Any:
    concepts = [
        {"name": "concept", "valueCoding": {"system": ANIMALS, "code": code}} for code in codes
    ]
    texts = [{"name": key, "valueString": value} for key, value in more.items()]
    sent = [{"name": "name", "valueString": name}, *concepts, *texts]
    return session.post("$closure", {"resourceType": "Parameters", "parameter": sent})


def relations(answer: Any) -> tuple[str, set[tuple[str, str]]]:
    """Return the version of the answer, and (code, code above it) for each pair."""
    content = must(answer).json()
    assert content["resourceType"] == "ConceptMap"
    pairs = set()
    for group in content.get("group", []):
        assert group["source"] == group["target"] == ANIMALS
        for element in group["element"]:
            for target in element["target"]:
                assert target["equivalence"] == "subsumes"
                pairs.add((element["code"], target["code"]))
    return content["version"], pairs


def test_each_addition_tells_what_is_new_and_a_replay_all_since_a_version(
    program: Session,
) -> None:
    assert relations(close(program)) == ("0", set())
    assert relations(close(program, "problems", "cat", "dog")) == ("1", set())
    above = {("cat", "animal"), ("dog", "animal")}
    assert relations(close(program, "problems", "animal")) == ("2", above)
    cow = {("cow", "mammal"), ("cow", "animal")}
    mammal = {("mammal", "animal"), ("dog", "mammal")}
    assert relations(close(program, "problems", "mammal", "cow")) == ("3", cow | mammal)

    assert relations(close(program, version="0")) == ("3", above | cow | mammal)
    assert relations(close(program, version="2")) == ("3", cow | mammal)
    assert relations(close(program, version="3")) == ("3", set())


def test_a_code_that_is_there_makes_no_version(program: Session) -> None:
    close(program)
    assert relations(close(program, "problems", "cat", "cat")) == ("1", set())
    assert relations(close(program, "problems", "cat")) == ("1", set())
    # Case means nothing in this code system.
    assert relations(close(program, "problems", "CAT")) == ("1", set())


def test_the_name_alone_begins_a_table_anew(program: Session) -> None:
    close(program)
    close(program, "problems", "cat", "animal")
    assert relations(close(program)) == ("0", set())
    assert relations(close(program, version="0")) == ("0", set())


def test_a_table_is_its_programs_own(furnished: House, program: Session) -> None:
    close(program)
    other = furnished.system("hospital-b")
    assert close(other, "problems", "cat").status_code == 404
    close(other)
    assert relations(close(other, "problems", "cat")) == ("1", set())
    assert relations(close(program, "problems", "cat", "pet")) == ("1", {("cat", "pet")})


def test_the_oldest_table_goes_when_there_are_too_many(furnished: House, program: Session) -> None:
    for number in range(101):
        furnished.clock.forward(seconds=1)
        must(close(program, f"table-{number}"))
    assert close(program, "table-0", "cat").status_code == 404
    assert relations(close(program, "table-1", "cat")) == ("1", set())


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ([], 400),
        ([("name", "String", "x"), ("version", "String", "1")], 422),
        ([("name", "String", "none"), ("version", "String", "0")], 404),
        ([("name", "String", "x"), ("version", "String", "-1")], 400),
        ([("name", "String", "x" * 101)], 400),
        ([("name", "String", "x"), ("concept", "Coding", {"code": "cat"})], 422),
        ([("name", "String", "x"), ("concept", "Coding", {"system": ANIMALS, "code": "?"})], 422),
        ([("name", "String", "x"), ("concept", "Coding", {"system": "urn:x", "code": "a"})], 404),
        ([("name", "String", "x"), ("concept", "Coding", {"system": FLAT, "code": "cat"})], 422),
        (
            [
                ("name", "String", "x"),
                ("concept", "Coding", {"system": ANIMALS, "code": "cat", "version": "0"}),
            ],
            422,
        ),
        (
            [
                ("name", "String", "x"),
                ("version", "String", "0"),
                ("concept", "Coding", {"system": ANIMALS, "code": "cat"}),
            ],
            400,
        ),
        ([("name", "String", "x"), ("system", "String", "y")], 400),
    ],
)
def test_bad_input_is_refused(
    program: Session, parameters: list[tuple[str, str, Any]], status: int
) -> None:
    close(program, "x")
    sent = [{"name": name, f"value{kind}": value} for name, kind, value in parameters]
    answer = program.post("$closure", {"resourceType": "Parameters", "parameter": sent})
    assert answer.status_code == status, answer.text
    assert relations(close(program, "x", version="0")) == ("0", set())


def test_who_is_no_program_or_may_not_ask_for_terms_keeps_none(
    furnished: House, program: Session
) -> None:
    narrow = furnished.system("hospital-a", "system/Observation.rs")
    people = [furnished.login(name) for name in ("doctor.a", "p.pat-1", "admin")]
    assert [close(one).status_code for one in (narrow, *people)] == [403] * 4
