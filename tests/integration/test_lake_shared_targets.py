"""Records of no patient that are named and not there: found as they come and go, at their cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ehr_etl import batch, pipeline
from ehr_etl.jobs import LocalRunner
from ehr_etl.lake import Lake, read_small_table
from ehr_etl.pipeline import LakeWriter
from ehr_etl.tables import bucketed, linking, shared_targets
from ehr_etl.tables.quarantine import list_findings
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS, condition, encounter, patient

RULE = "shared-references-resolve"
HARBOUR = {"resourceType": "Organization", "id": "ha-harbour", "name": "Harbour"}
WARD = {
    "resourceType": "Location", "id": "w1",
    "managingOrganization": {"reference": "Organization/ha-harbour"},
}  # fmt: skip


def person(number: int) -> dict[str, Any]:
    """Return a patient who shares no identity with another."""
    whole = patient(f"p{number}", birthDate=f"1950-01-{1 + number % 28:02}", name=[])
    return {**whole, "identifier": [{"system": "urn:x", "value": f"n{number}"}]}


@pytest.fixture(autouse=True)
def many_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_FEWEST_BUCKETS", 64)
    monkeypatch.setattr(pipeline, "_CROWDED", 10**9)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def store() -> FakeStore:
    store = FakeStore()
    for number in range(1, 4):
        store.put(person(number))
        store.put(encounter(f"e{number}", f"p{number}"))
    store.put(WARD)
    return store


def run(lake: Lake, store: FakeStore) -> pipeline.TableChange:
    with LakeWriter(lake, KEY, LocalRunner(1)) as writer:
        writer.take_in(store)
        return writer.bring_up(NOW_MS)


def read_findings(lake: Lake) -> dict[str, tuple[str, ...]]:
    """Return record -> elements of those that name what is not there."""
    return {
        f"{found.type}/{found.id}": found.elements
        for found in list_findings(lake)
        if RULE in found.reasons
    }


NAMING = {
    **{f"Encounter/e{number}": ("serviceProvider",) for number in (1, 2, 3)},
    "Location/w1": ("managingOrganization",),
}


def test_a_shared_record_that_comes_and_goes_is_followed(lake: Lake, store: FakeStore) -> None:
    run(lake, store)
    assert read_findings(lake) == NAMING

    store.put(HARBOUR)
    run(lake, store)
    assert read_findings(lake) == {}

    # A newer version of it is no reason to look at anybody.
    store.put({**HARBOUR, "name": "Harbour Hospital"})
    run(lake, store)
    assert read_findings(lake) == {}

    store.delete(HARBOUR)
    run(lake, store)
    assert read_findings(lake) == NAMING

    store.put(encounter("e2", "p2", serviceProvider={"display": "elsewhere"}))
    store.put({**WARD, "status": "active"})
    run(lake, store)
    assert read_findings(lake) == {
        key: elements for key, elements in NAMING.items() if key != "Encounter/e2"
    }


def test_what_comes_with_those_that_name_it_is_there(lake: Lake, store: FakeStore) -> None:
    store.put(HARBOUR)
    run(lake, store)
    assert read_findings(lake) == {}


def test_what_is_no_statement_or_decides_about_access_is_not_checked(
    lake: Lake, store: FakeStore
) -> None:
    store.put(HARBOUR)
    store.put(encounter("e2", "p2", status="entered-in-error",
                        serviceProvider={"reference": "Organization/nobody"}))  # fmt: skip
    store.put({"resourceType": "PractitionerRole", "id": "r1",
               "practitioner": {"reference": "Practitioner/nobody"}})  # fmt: skip
    store.put(encounter("e3", "p3", serviceProvider={
        "reference": "https://elsewhere.example/fhir/Organization/nobody"}))  # fmt: skip
    run(lake, store)
    assert read_findings(lake) == {}


def test_a_held_record_is_not_there_until_it_is_released(lake: Lake, store: FakeStore) -> None:
    store.put(HARBOUR)
    # A code that FHIR does not have.
    store.put({"resourceType": "Location", "id": "w2", "status": "nowhere"})
    store.put(encounter("e1", "p1", location=[{"location": {"reference": "Location/w2"}}]))
    run(lake, store)
    assert read_findings(lake) == {"Encounter/e1": ("location[0].location",)}

    store.judge(("Location", "w2"), 1, "release")
    run(lake, store)
    assert read_findings(lake) == {}


def test_a_released_finding_does_not_come_back(lake: Lake, store: FakeStore) -> None:
    """Neither when a neighbour changes nor when the record that it names goes anew."""
    run(lake, store)
    store.judge(("Encounter", "e1"), 1, "release")
    run(lake, store)
    assert "Encounter/e1" not in read_findings(lake)

    store.put(condition("c1", "p1", "e1"))
    run(lake, store)
    assert "Encounter/e1" not in read_findings(lake)

    store.put(HARBOUR)
    run(lake, store)
    store.delete(HARBOUR)
    run(lake, store)
    assert read_findings(lake).keys() == {"Encounter/e2", "Encounter/e3", "Location/w1"}


@pytest.mark.parametrize("kind", ["Practitioner", "Medication", "HealthcareService", "Substance"])
def test_every_shared_type_is_followed(lake: Lake, store: FakeStore, kind: str) -> None:
    store.put(HARBOUR)
    named = {"reference": f"{kind}/x1"}
    store.put(condition("c1", "p1", "e1", asserter=named))
    run(lake, store)
    assert read_findings(lake) == {"Condition/c1": ("asserter",)}
    store.put({"resourceType": kind, "id": "x1"})
    run(lake, store)
    held = {row["key"] for row in read_small_table(lake, "quarantine").to_pylist()}
    # A Substance without its code is held, and so not there.
    assert read_findings(lake).keys() == ({"Condition/c1"} if held else set())


def test_a_rebuild_finds_the_same(lake: Lake, store: FakeStore) -> None:
    run(lake, store)
    before = read_findings(lake)
    with LakeWriter(lake, KEY, LocalRunner(1)) as writer:
        writer.rebuild("silver", NOW_MS)
    assert read_findings(lake) == before
    # And keeps where what arrives later is named.
    store.put(HARBOUR)
    run(lake, store)
    assert read_findings(lake) == {}


def test_more_than_a_batch_holds_is_made_anew(
    lake: Lake, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(HARBOUR)
    run(lake, store)
    monkeypatch.setattr(shared_targets, "_MOST_REFERRERS", 2)
    store.delete(HARBOUR)
    change = run(lake, store)
    assert "silver" in change.rebuilt
    assert read_findings(lake) == NAMING


@pytest.fixture
def buckets_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, set[int]]]]:
    """Note of which table which buckets are read."""
    read: list[tuple[str, set[int]]] = []
    inner = bucketed.read_buckets

    def note(table: Any, buckets: Any, **named: Any) -> Any:
        wanted = set(buckets)
        read.append((Path(table.table_uri.rstrip("/")).name, wanted))
        return inner(table, wanted, **named)

    monkeypatch.setattr(bucketed, "read_buckets", note)
    yield read


def test_what_arrives_is_met_by_key_and_only_what_goes_is_sought(
    lake: Lake, store: FakeStore, buckets_read: list[tuple[str, set[int]]]
) -> None:
    for number in range(10, 60):
        store.put(person(number))
        store.put(encounter(f"e{number}", f"p{number}", serviceProvider={"display": "elsewhere"}))
    run(lake, store)

    buckets_read.clear()
    store.put(HARBOUR)
    run(lake, store)
    # Of three stays, of the ward and of the hospital itself.
    assert count_buckets(buckets_read, "silver") <= 5
    assert count_buckets(buckets_read, "places") <= 8

    buckets_read.clear()
    store.delete(HARBOUR)
    run(lake, store)
    assert count_buckets(buckets_read, "silver") == 64


def count_buckets(buckets_read: list[tuple[str, set[int]]], table: str) -> int:
    return len(set().union(*(buckets for name, buckets in buckets_read if name == table)))


def count_rows_checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    checked: list[int] = []
    inner = linking.find_row_faults

    def count(rows: Any, *arguments: Any, **named: Any) -> Any:
        found = inner(rows, *arguments, **named)
        checked.append(len(found))
        return found

    monkeypatch.setattr(batch, "find_row_faults", count)
    return checked


@pytest.mark.parametrize("people", [20, 120])
def test_the_first_batch_of_a_process_checks_what_changed_and_no_more(
    lake: Lake,
    monkeypatch: pytest.MonkeyPatch,
    buckets_read: list[tuple[str, set[int]]],
    people: int,
) -> None:
    """However many people there are: rows that are checked, and buckets that are read."""
    store = FakeStore()
    store.put(HARBOUR)
    for number in range(people):
        store.put(person(number))
        store.put(encounter(f"e{number}", f"p{number}"))
        store.put(condition(f"c{number}", f"p{number}", f"e{number}"))
    run(lake, store)
    checked = count_rows_checked(monkeypatch)
    buckets_read.clear()

    store.put(condition("c7", "p7", "e7", clinicalStatus=None))
    run(lake, store)

    # The diagnosis, its stay and its patient.
    assert sum(checked) == 3
    assert count_buckets(buckets_read, "silver") <= 2
    for table in ("places", "findings", "identities", "decisions", "quarantine"):
        assert count_buckets(buckets_read, table) <= 4, table


def test_only_the_batch_that_was_cut_short_looks_at_whole_buckets(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FakeStore()
    for number in range(40):
        store.put(person(number))
    run(lake, store)
    for number in range(40):
        store.put(condition(f"c{number}", f"p{number}", f"e{number}"))
    careful: list[bool] = []
    inner = batch.BatchWriter.apply

    def note(self: batch.BatchWriter, lines: batch.Batch) -> None:
        careful.append(self.is_careful)
        inner(self, lines)

    monkeypatch.setattr(batch.BatchWriter, "apply", note)
    monkeypatch.setattr(pipeline, "_BATCH_VERSIONS", 10)
    with LakeWriter(lake, KEY, LocalRunner(1)) as writer:
        # The feed is read, and then the process ends.
        writer.take_in(store)
    run(lake, store)

    assert careful == [True, False, False, False]
