"""A code system in the tables answers as the same one in memory, on both databases."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from ehr_fhir.errors import EhrError, Unprocessable
from ehr_fhir.terminology.code_system import (
    CodeSystem,
    ConceptFilter,
    MemoryCodeSystem,
    Selection,
    SystemHeader,
)
from ehr_fhir.terminology.concepts import search_words
from ehr_gateway.terminology.load import (
    LoadedConcept,
    delete_system,
    list_systems,
    load_code_system,
)
from ehr_gateway.terminology.stored_system import find_loaded_system
from tests.lib.gateway import House, Session, must, observation
from tests.lib.lab_profile import PROFILE, build_lab_profile

URL = "http://example.org/made-up"
WORDS = ["heart", "heat", "lung", "Lunge", "acute", "心臟", "心病", "of", "the", "left", "é-clair"]


def made_up(seed: int, size: int = 60) -> list[dict[str, Any]]:
    """Return concepts of a code system in which many have several parents."""
    chance = random.Random(seed)
    concepts = []
    for number in range(size):
        parents = chance.sample(range(number), min(number, chance.choice((0, 1, 1, 1, 2, 3))))
        concepts.append({
            "code": f"C{number}",
            "display": " ".join(chance.sample(WORDS, 3)),
            "designation": [{"language": "zh", "value": chance.choice(WORDS)}],
            "property": [
                *({"code": "parent", "valueCode": f"C{parent}"} for parent in parents),
                {"code": "size", "valueInteger": chance.randrange(4)},
                {"code": "inactive", "valueBoolean": chance.random() < 0.2},
                *([{"code": "notSelectable", "valueBoolean": True}] * (number % 7 == 0)),
            ],
        })  # fmt: skip
    return concepts


def in_memory(seed: int, *, exact: bool) -> MemoryCodeSystem:
    resource = {"url": URL, "version": "1", "content": "complete", "caseSensitive": exact}
    return MemoryCodeSystem({**resource, "concept": made_up(seed)})


def loadable(system: CodeSystem) -> Iterator[LoadedConcept]:
    for concept in system.select(Selection()):
        yield LoadedConcept(concept.detail, tuple(system.parents(concept.code)))


FILTERS = [
    ("concept", "is-a", "C1"), ("concept", "is-a", "C0"), ("concept", "descendent-of", "C2"),
    ("concept", "is-not-a", "C1"), ("concept", "generalizes", "C40"), ("code", "=", "c7"),
    ("code", "in", "C1, C2,none"), ("code", "not-in", "C1,C2"), ("code", "regex", "C[12].*"),
    ("size", "=", "2"), ("size", "in", "1,2"), ("size", "not-in", "1,2"), ("size", "regex", "[01]"),
    ("size", "exists", "true"), ("colour", "exists", "false"), ("inactive", "=", "true"),
    ("notSelectable", "=", "true"), ("parent", "=", "C3"), ("child", "exists", "true"),
    ("display", "regex", ".*heart.*"),
]  # fmt: skip
SELECTIONS = [
    Selection(tuple(ConceptFilter(*one) for one in filters), search_words(text), active_only)
    for filters in ([], *([one] for one in FILTERS), FILTERS[1:4:2], FILTERS[0:10:9])
    for text in ("", "hea", "lung of", "心", "c1")
    for active_only in (False, True)
]  # fmt: skip


@pytest.mark.parametrize("exact", [True, False])
def test_the_tables_answer_as_the_memory(house: House, exact: bool) -> None:
    database = house.gateway.store.database
    compared = 0
    for seed in (1, 2):
        memory = in_memory(seed, exact=exact)
        load_code_system(database, memory.header, loadable(memory), now_ms=1)
        with database.read_transaction() as connection:
            stored = find_loaded_system(connection, URL)
            assert stored is not None
            assert stored.header == memory.header
            for selection in SELECTIONS:
                expected = answers(memory, selection)
                assert answers(stored, selection) == expected, selection
                compared += bool(expected)
            for code in ("C0", "c1", "C17", "C59", "none"):
                assert stored.find(code) == memory.find(code)
                assert {*stored.parents(code)} == {*memory.parents(code)}
                assert {*stored.children(code)} == {*memory.children(code)}
                for direction in ("above", "below"):
                    one, other = stored.lineage(code, direction), memory.lineage(code, direction)
                    assert {*one} == {*other}
                for ancestor in ("C0", "C3", "C17", "none"):
                    assert stored.is_below(code, ancestor) == memory.is_below(code, ancestor)
    assert compared > 300


def answers(system: CodeSystem, selection: Selection) -> Any:
    """Return the codes, in no order, and their number, or that they are refused."""
    try:
        codes = [concept.code for concept in system.select(selection)]
        assert system.count(selection) == len(codes)
    except EhrError as error:
        return type(error)
    first = Selection(selection.filters, selection.words, selection.active_only, 1, 2)
    assert [concept.code for concept in system.select(first)] == codes[1:3]
    return frozenset(codes)


def test_a_version_is_replaced_and_the_newest_is_taken(house: House) -> None:
    database = house.gateway.store.database
    for version, code in (("1.9", "old"), ("1.10", "wrong"), ("1.10", "new")):
        header = SystemHeader(URL, version)
        load_code_system(database, header, [LoadedConcept({"code": code})], now_ms=1)

    with database.read_transaction() as connection:
        assert [one.header.version for one in list_systems(connection)] == ["1.10", "1.9"]
        newest = find_loaded_system(connection, URL)
        assert newest is not None
        assert (newest.find("NEW") is not None, newest.find("wrong")) == (True, None)
        assert find_loaded_system(connection, URL, "2") is None
    assert delete_system(database, URL, "1.9") == 1
    assert delete_system(database, URL, None) == 1
    with database.read_transaction() as connection:
        assert connection.execute("SELECT COUNT(*) FROM terminology_concept").fetchone()[0] == 0


def test_a_load_that_is_cut_short_is_found_by_nobody(house: House) -> None:
    database = house.gateway.store.database

    def stop(table: str, rows: int) -> None:
        if table == "terminology_word":
            raise KeyboardInterrupt

    concepts = [LoadedConcept({"code": "a", "display": "A"})]
    with pytest.raises(KeyboardInterrupt):
        load_code_system(database, SystemHeader(URL), concepts, now_ms=1, progress=stop)
    with database.read_transaction() as connection:
        assert find_loaded_system(connection, URL) is None

    load_code_system(database, SystemHeader(URL), concepts, now_ms=1)
    with database.read_transaction() as connection:
        for table in ("system", "concept", "word"):
            row = connection.execute(f"SELECT COUNT(*) FROM terminology_{table}")
            assert row.fetchone()[0] == 1


@pytest.mark.parametrize(
    "concepts",
    [
        [],
        [LoadedConcept({"code": "a"}), LoadedConcept({"code": "A"})],
        [LoadedConcept({"code": "a"}, ("b",))],
    ],
)
def test_a_faulty_code_system_is_not_loaded(house: House, concepts: list[LoadedConcept]) -> None:
    database = house.gateway.store.database
    with pytest.raises(Unprocessable):
        load_code_system(database, SystemHeader(URL), concepts, now_ms=1)
    with database.read_transaction() as connection:
        assert list_systems(connection) == []


@pytest.fixture
def served(furnished: House) -> Session:
    """Return a doctor's session at a house where a code system was loaded."""
    memory = in_memory(1, exact=True)
    load_code_system(furnished.gateway.store.database, memory.header, loadable(memory), now_ms=1)
    # Whoever stores a resource of the same url does not change it for others.
    furnished.system("ehr-commons").store({
        "resourceType": "CodeSystem", "id": "false", "url": URL, "status": "active",
        "version": "9", "content": "complete", "concept": [{"code": "false"}],
    })  # fmt: skip
    return furnished.login("doctor.a")


def test_a_loaded_code_system_is_served(served: Session) -> None:
    lookup = must(served.get(f"CodeSystem/$lookup?system={URL}&code=C1")).json()
    memory = in_memory(1, exact=True)
    part = {"system": URL, "filter": [{"property": "concept", "op": "is-a", "value": "C0"}]}
    value_set = {"resourceType": "ValueSet", "status": "draft", "compose": {"include": [part]}}
    parameters = [{"name": "valueSet", "resource": value_set}, {"name": "count", "valueInteger": 3}]
    page = must(served.post(
        "ValueSet/$expand", {"resourceType": "Parameters", "parameter": parameters}
    )).json()["expansion"]  # fmt: skip

    names = {one["name"]: one.get("valueString") for one in lookup["parameter"]}
    concept = memory.find("C1")
    assert concept is not None
    assert names["display"] == concept.display
    assert page["total"] == len(memory.lineage("C0", "below"))
    assert len(page["contains"]) == 3
    assert served.get(f"CodeSystem/$lookup?system={URL}&code=false").status_code == 404


def test_searches_ask_a_loaded_code_system(furnished: House, served: Session) -> None:
    hospital = furnished.system("hospital-a")
    for name, code in (("in-1", "C5"), ("in-2", "C17"), ("out", "none")):
        coding = {"coding": [{"system": URL, "code": code}]}
        hospital.store({**observation(name, "laboratory"), "code": coding})
    memory = in_memory(1, exact=True)
    ancestor = memory.parents("C17")[0] if memory.parents("C17") else "C17"
    part = {"system": URL, "filter": [{"property": "concept", "op": "is-a", "value": ancestor}]}
    furnished.system("ehr-commons").store({
        "resourceType": "ValueSet", "id": "below", "url": "http://example.org/below",
        "status": "active", "compose": {"include": [part]},
    })  # fmt: skip
    expected = {
        f"Observation/{name}" for name, code in (("in-1", "C5"), ("in-2", "C17"))
        if code in memory.lineage(ancestor, "below")
    }  # fmt: skip

    for query in ("code:in=http://example.org/below", f"code:below={URL}|{ancestor}"):
        assert set(hospital.ids(f"Observation?{query}")) == expected
    assert "Observation/in-2" in expected
    above = hospital.ids(f"Observation?code:above={URL}|C17")
    assert "Observation/in-2" in above
    assert "Observation/out" not in above
    outside = set(
        hospital.ids("Observation?code:not-in=http://example.org/below&_id=in-1,in-2,out")
    )
    assert outside == {"Observation/in-1", "Observation/in-2", "Observation/out"} - expected


def test_validation_asks_a_loaded_code_system(furnished: House, served: Session) -> None:
    """Its codes alone are known, and which of them a value set of the store takes."""
    below = {"property": "concept", "op": "is-a", "value": "C1"}
    value_set = {
        "resourceType": "ValueSet", "id": "below", "url": f"{URL}/below", "status": "active",
        "compose": {"include": [{"system": URL, "filter": [below]}]},
    }  # fmt: skip
    binding = {"strength": "required", "valueSet": f"{URL}/below"}
    platform = furnished.system("ehr-commons")
    platform.store(value_set)
    platform.store(build_lab_profile({"path": "Observation.code", "binding": binding}))

    def faults(code: str, query: str = "") -> list[str]:
        body = observation("x", "laboratory")
        body["code"] = {"coding": [{"system": URL, "code": code}]}
        answer = must(platform.post(f"Observation/$validate{query}", body)).json()
        return [one["expression"][0] for one in answer["issue"] if one["severity"] == "error"]

    by_profile = f"?profile={PROFILE}"
    inside = in_memory(1, exact=False).lineage("C1", "below")
    outside = next(f"C{number}" for number in range(60) if f"C{number}" not in inside)
    assert (faults("C1"), faults("none")) == ([], ["Observation.code.coding[0].code"])
    assert faults(inside[-1], by_profile) == []
    assert faults(outside, by_profile) == ["Observation.code"]
    delete_system(furnished.gateway.store.database, URL, None)
    # Now the code system counts that is stored.
    assert (faults("false"), faults("C1")) == ([], ["Observation.code.coding[0].code"])
