"""Promotion to gold: rows are checked before the switch; what fails keeps its last good row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ehr_cli.commands.lake import describe_held
from ehr_etl import pipeline
from ehr_etl.data_quality import expectations, row_screen
from ehr_etl.gold import promotion
from ehr_etl.lake import Lake, read_small_table
from ehr_etl.lake_run import LakeReport, run_once
from ehr_etl.pipeline import LakeWriter
from ehr_etl.status import read_status
from ehr_privacy.deid import pseudonym
from tests.lib.feed_lines import consent
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS, condition, encounter, patient

TABLE = "gold/condition_flat"
PEOPLE = ("p1", "p2", "p3")


@pytest.fixture
def store() -> FakeStore:
    store = FakeStore()
    for who in PEOPLE:
        store.put(patient(who))
        store.put(consent(who, "joining"))
        store.put(encounter(f"e-{who}", who))
        store.put(condition(f"c-{who}", who, f"e-{who}"))
    return store


@pytest.fixture
def holding_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a row without a code be held, as one of a broken structure is.

    What silver takes has a sound structure, so the shipped suites hold nothing that a record of
    FHIR could be.
    """
    shipped = expectations.load_suite

    def load(view: str) -> Any:
        suite = shipped(view)
        if view != "condition_flat":
            return suite
        rule = {"name": "code-present", "type": "expect_column_values_to_not_be_null"}
        added = {**rule, "holds_back": True, "kwargs": {"column": "code"}}
        return {**suite, "expectations": [*suite["expectations"], added]}

    monkeypatch.setattr(promotion, "load_suite", load)


def run(lake: Lake, store: FakeStore) -> LakeReport:
    return run_once(lake, store, deid_key=KEY, now_ms=NOW_MS)


def codes(lake: Lake) -> dict[str, Any]:
    """Return person -> code of their diagnosis in gold."""
    names = {pseudonym(KEY, f"Patient/{who}"): who for who in PEOPLE}
    return {
        names[row["patient_id"]]: row["code"] for row in read_small_table(lake, TABLE).to_pylist()
    }


def without_code(who: str) -> dict[str, Any]:
    """Return a diagnosis that only its text names."""
    return condition(f"c-{who}", who, f"e-{who}", code={"text": "high pressure"})


def withdraw(store: FakeStore, who: str) -> None:
    store.put({**consent(who, "joining"), "status": "inactive"})


def held(lake: Lake) -> list[tuple[str, str, int]]:
    return [(one.table, one.expectation, one.records) for one in read_status(lake).held_promotions]


@pytest.mark.usefixtures("holding_suite")
def test_a_failed_promotion_keeps_the_last_good_row_and_withdrawals_go_through(
    store: FakeStore, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    assert run(lake, store).held_promotions == ()
    before = codes(lake)
    assert set(before) == set(PEOPLE)

    # In one batch: one fails, one is withdrawn.
    store.put(without_code("p1"))
    withdraw(store, "p2")
    report = run(lake, store)

    assert codes(lake) == {who: before[who] for who in ("p1", "p3")}
    assert held(lake) == [(TABLE, "code-present", 1)]
    (failure,) = report.held_promotions
    assert "code-present" in describe_held(failure)

    # What is held is withdrawn too.
    withdraw(store, "p1")
    assert run(lake, store).held_promotions == ()
    assert set(codes(lake)) == {"p3"}
    assert held(lake) == []


@pytest.mark.usefixtures("holding_suite")
def test_a_newer_good_version_takes_the_place(store: FakeStore, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    run(lake, store)
    store.put(without_code("p1"))
    run(lake, store)
    system = "http://snomed.info/sct"
    good = {"coding": [{"system": system, "code": "44054006"}]}
    store.put(condition("c-p1", "p1", "e-p1", code=good))

    assert run(lake, store).held_promotions == ()
    assert codes(lake)["p1"] == "44054006"


@pytest.mark.usefixtures("holding_suite")
def test_a_record_that_is_of_somebody_else_now_leaves_the_one_whose_it_was(
    store: FakeStore, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    run(lake, store)
    store.put({**without_code("p2"), "id": "c-p1"})

    run(lake, store)

    assert set(codes(lake)) == {"p2", "p3"}
    assert held(lake) == [(TABLE, "code-present", 1)]


@pytest.mark.usefixtures("holding_suite")
def test_a_table_made_anew_keeps_the_last_good_rows(store: FakeStore, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    run(lake, store)
    before = codes(lake)
    store.put(without_code("p1"))
    run(lake, store)
    for table in (TABLE, "silver"):
        with LakeWriter(lake, KEY) as writer:
            writer.rebuild(table, NOW_MS)

        assert codes(lake) == before
        assert held(lake) == [(TABLE, "code-present", 1)]

    withdraw(store, "p1")
    with LakeWriter(lake, KEY) as writer:
        writer.take_in(store)
        writer.rebuild("silver", NOW_MS)
    assert set(codes(lake)) == {"p2", "p3"}
    assert held(lake) == []


@pytest.mark.usefixtures("holding_suite")
def test_the_check_reads_what_changes_alone(
    store: FakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the switch: gold does not yet have the row when it is checked."""
    lake = Lake(tmp_path)
    run(lake, store)
    seen: list[tuple[int, int]] = []
    inner = row_screen.are_plainly_met

    def watch(rows: Any, listed: Any) -> bool:
        seen.append((len(rows), len(read_small_table(lake, TABLE))))
        return inner(rows, listed)

    monkeypatch.setattr(promotion, "are_plainly_met", watch)
    monkeypatch.setattr(pipeline, "check_gold_tables", lambda lake, views: ())
    with LakeWriter(lake, KEY) as writer:
        for number, code in (("2", "44054006"), ("3", "195967001")):
            coded = {"coding": [{"system": "http://snomed.info/sct", "code": code}]}
            store.put(condition(f"c{number}-p3", "p3", "e-p3", code=coded))
            writer.take_in(store)
            writer.bring_up(NOW_MS)
            assert len(read_small_table(lake, TABLE)) == 2 + int(number)

    assert seen == [(1, 3), (1, 4)]


def test_a_diagnosis_that_only_its_text_names_is_in_gold_and_reported(
    store: FakeStore, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    store.put(without_code("p1"))

    report = run(lake, store)

    assert codes(lake)["p1"] is None
    assert report.held_promotions == ()
    (table,) = (one for one in report.quality if one.table == "condition_flat")
    (check,) = (one for one in table.results if one.name == "code-mostly-known")
    assert (check.unexpected, check.evaluated, check.success) == (1, 3, False)
