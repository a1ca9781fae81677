"""OMOP in a whole lake: what changes gave is what a build from nothing gives, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ehr_etl import jobs, pipeline
from ehr_etl.batch import BatchWriter
from ehr_etl.jobs import LocalRunner
from ehr_etl.lake import Lake
from ehr_etl.omop.athena import load_vocabulary
from ehr_etl.omop.cdm import ETL_TABLES, load_cdm, table_name
from ehr_etl.omop.identifiers import person_key
from ehr_etl.omop.split_persons import find_split_persons, read_places
from ehr_etl.omop.state import OmopState, save_state
from ehr_etl.omop.writer import OmopWriter
from ehr_etl.pipeline import LakeWriter
from ehr_etl.progress import load_progress
from ehr_etl.status import read_status
from ehr_etl.tables.bucketed import Layout
from ehr_etl.tables.deid import deid_key_text
from tests.lib.feed_lines import consent
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS
from tests.lib.object_store import ObjectStore
from tests.lib.omop_lake import (
    RXNORM,
    coding,
    hospital,
    read_rows,
    sorted_rows,
    write_athena_folder,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.timeout(3000)

ERASURE_KEY = b"e" * 32
# Numbers of buckets are a lake's own.
TABLES = (*load_cdm(), *(name for name in ETL_TABLES if name != "split_persons"))
STEPS = ("_write_silver", "_write_deid_and_gold", "_write_decisions", "_write_places")
acts = st.one_of(
    st.tuples(st.just("put"), st.integers(0, len(hospital()) - 1)),
    st.tuples(st.just("move"), st.integers(0, len(hospital()) - 1)),
    st.tuples(st.just("delete"), st.integers(0, len(hospital()) - 1)),
    st.tuples(st.just("tablet"), st.integers(1, 2)),
    st.tuples(st.sampled_from(("join", "leave", "merge", "part")), st.integers(1, 2)),
)
sequences = st.lists(
    st.tuples(
        st.lists(acts, min_size=1, max_size=5),
        st.sampled_from(("run", "run", "crash")),
        st.sampled_from(STEPS),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


class CutShort(BaseException):
    """Ends a run in its middle as a crash would: nothing catches it."""


class Bench:
    """A store, and a lake with OMOP tables that follows it."""

    def __init__(self, folder: Path, store: FakeStore | None = None) -> None:
        self.lake = Lake(folder)
        self.store = store or FakeStore()
        save_state(self.lake, OmopState())

    def act(self, kind: str, number: int) -> None:
        one: Mapping[str, Any] = hospital()[number] if kind in ("put", "move", "delete") else {}
        if kind == "put":
            self.store.put(one)
        elif kind == "move" and "subject" in one:
            self.store.put({**one, "subject": {"reference": "Patient/p2"}})
        elif kind == "delete" and (one["resourceType"], one["id"]) in self.store.newest:
            self.store.delete(one)
        elif kind == "tablet":
            code = coding(RXNORM, f"9990000{number}")
            self.store.put({"resourceType": "Medication", "id": "m1", "code": code})
        elif kind in ("merge", "part"):
            link = {"type": "replaced-by", "other": {"reference": f"Patient/p{3 - number}"}}
            account = {**hospital()[number - 1], "link": [link] if kind == "merge" else []}
            self.store.put(account)
        elif kind in ("join", "leave"):
            status = "active" if kind == "join" else "inactive"
            self.store.put({**consent(f"p{number}", "joining"), "status": status})

    def run(self) -> set[str]:
        with LakeWriter(self.lake, KEY, read_erasure_key=lambda: ERASURE_KEY) as writer:
            writer.take_in(self.store)
            return writer.bring_up(NOW_MS).written

    def run_cut_short(self, step: str, is_after: bool) -> None:
        original = getattr(BatchWriter, step)

        def crash(self: BatchWriter, *arguments: Any) -> None:
            if is_after:
                original(self, *arguments)
            raise CutShort

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BatchWriter, step, crash)
            try:
                self.run()
            except CutShort:
                pass

    def tables(self) -> dict[str, list[str]]:
        return {name: sorted_rows(self.lake, name) for name in TABLES}


@pytest.fixture(autouse=True)
def many_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "ROWS_PER_BUCKET", 1)
    monkeypatch.setattr(pipeline, "_CROWDED", 10**9)
    monkeypatch.setattr(pipeline, "_FEWEST_BUCKETS", 5)


def fill(bench: Bench) -> None:
    for number in range(len(hospital())):
        bench.act("put", number)
    for number in (1, 2):
        bench.act("join", number)


def follow(folder: Path, sequence: Any) -> Bench:
    bench = Bench(folder / "followed")
    fill(bench)
    bench.run()
    for listed, work, step, is_after in sequence:
        for act in listed:
            bench.act(*act)
        if work == "crash":
            bench.run_cut_short(step, is_after)
        else:
            bench.run()
    bench.run()
    return bench


def check(folder: Path, sequence: Any) -> Bench:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    bench = follow(folder, sequence)
    other = Bench(folder / "anew", bench.store)
    other.run()
    assert other.tables() == bench.tables()
    split = find_split_persons(bench.lake, Layout(load_progress(bench.lake).buckets, KEY))
    assert read_places(bench.lake) == {
        str(person_key(name)): person.buckets for name, person in split.items()
    }
    return bench


EVERY_ACT = [
    ([("merge", 2)], "run", "_write_silver", False),
    ([("move", 10)], "run", "_write_silver", False),
    ([("part", 2)], "crash", "_write_deid_and_gold", True),
    ([("merge", 2), ("leave", 1)], "crash", "_write_silver", True),
    ([("join", 1), ("delete", 8), ("put", 8)], "run", "_write_silver", False),
    ([("part", 2)], "crash", "_write_silver", True),
    ([("tablet", 2), ("move", 10)], "run", "_write_silver", False),
    ([("delete", 3), ("leave", 2)], "crash", "_write_deid_and_gold", True),
    ([("put", 3), ("delete", 5), ("join", 2)], "crash", "_write_places", False),
    ([("move", 10), ("delete", 4)], "run", "_write_silver", False),
]


def test_changes_give_what_a_build_from_nothing_and_processes_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = check(tmp_path / "every", EVERY_ACT)
    followed = bench.tables()
    assert followed["measurement"]
    assert bench.run() == set()

    monkeypatch.setattr(jobs, "_FEWEST_ROWS", 0)
    with LakeWriter(bench.lake, KEY, LocalRunner(2)) as writer:
        assert "omop" in writer.rebuild("omop", NOW_MS).rebuilt

    assert bench.tables() == followed
    # By what they wrote, changes are followed as before.
    bench.act("leave", 1)
    bench.run()
    gone = person_key(deid_key_text(KEY, "Patient", "p1"))
    assert gone not in {row["person_id"] for row in read_rows(bench.lake, "person")}


def test_the_records_of_merged_accounts_are_one_persons_wherever_they_lie(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "lake")
    fill(bench)
    bench.run()
    survivor = person_key(deid_key_text(KEY, "Patient", "p1"))

    bench.act("merge", 2)
    bench.run()

    assert {row["person_id"] for row in read_rows(bench.lake, "person")} == {survivor}
    assert {row["person_id"] for row in read_rows(bench.lake, "condition_occurrence")} == {survivor}
    reasons = {row["reason"] for row in read_rows(bench.lake, "source_records")}
    assert "no-person" not in reasons
    # The two accounts lie in different buckets, and a record that is changed alone finds both.
    assert len(read_rows(bench.lake, "split_persons")) == 2
    bench.act("delete", 8)
    bench.run()
    assert len(read_rows(bench.lake, "condition_occurrence")) == 1


@pytest.mark.parametrize("erased", [1, 2])
def test_an_erased_account_leaves_the_one_it_was_merged_with(tmp_path: Path, erased: int) -> None:
    """Whichever of the two it is, the other person has their own rows and no others."""
    bench = Bench(tmp_path / "lake")
    fill(bench)
    bench.act("merge", 2)
    bench.run()

    bench.store.erase(f"p{erased}", ERASURE_KEY)
    bench.run()

    stays = person_key(deid_key_text(KEY, "Patient", f"p{3 - erased}"))
    assert {row["person_id"] for row in read_rows(bench.lake, "person")} == {stays}
    other = Bench(tmp_path / "anew", bench.store)
    other.run()
    assert other.tables() == bench.tables()


@pytest.mark.spark
def test_a_vocabulary_gives_the_same_rows_by_a_re_map_and_on_spark(
    spark: SparkSession, tmp_path: Path
) -> None:
    bench = Bench(tmp_path / "lake")
    fill(bench)
    bench.run()
    with LakeWriter(bench.lake, KEY) as writer:
        load_vocabulary(bench.lake, write_athena_folder(tmp_path / "athena"))
        change = writer.remap_omop(NOW_MS)
        assert table_name("condition_occurrence") in change.written
        assert writer.remap_omop(NOW_MS).written == set()
    assert bench.run() == set()
    mapped = bench.tables()
    assert mapped["drug_era"]

    from ehr_etl.spark.cluster import SparkRunner

    with LakeWriter(bench.lake, KEY, SparkRunner(lambda: spark)) as writer:
        writer.rebuild("omop", NOW_MS)
    assert bench.tables() == mapped


def test_a_lake_that_has_rows_gets_its_omop_tables_by_one_command(tmp_path: Path) -> None:
    store = FakeStore()
    bench = Bench(tmp_path / "lake", store)
    (bench.lake.root / "omop_etl" / "state.json").unlink()
    fill(bench)
    assert not any(name.startswith("omop") for name in bench.run())

    with LakeWriter(bench.lake, KEY) as writer:
        change = writer.build_omop(NOW_MS)
        assert table_name("person") in change.written
        assert table_name("person") in writer.maintain(0, NOW_MS)
    assert {table.table for table in read_status(bench.lake).tables} >= {table_name("person")}
    assert len(read_rows(bench.lake, "person")) == 2


def test_a_batch_reads_the_persons_that_changed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "lake")
    fill(bench)
    bench.run()
    built: list[int] = []
    original = OmopWriter._build_rows

    def count(self: OmopWriter, table: Any, chosen: Any, changed: Any) -> Any:
        built.extend(person_key(name) for name in chosen)
        return original(self, table, chosen, changed)

    monkeypatch.setattr(OmopWriter, "_build_rows", count)
    bench.act("put", 8)
    bench.run()

    assert built == [person_key(deid_key_text(KEY, "Patient", "p2"))]


def test_the_tables_and_the_vocabulary_may_be_in_an_object_store(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    bench = Bench(tmp_path / "here")
    bench.lake = Lake(tmp_path / "here", f"{object_store.url}/omop", object_store.options)
    fill(bench)
    bench.run()
    with LakeWriter(bench.lake, KEY) as writer:
        load_vocabulary(bench.lake, write_athena_folder(tmp_path / "athena"))
        writer.remap_omop(NOW_MS)
        # As on another machine, which has the object store alone.
        for file in (tmp_path / "here" / "omop_etl").glob("vocabulary-*"):
            file.unlink()
        writer.rebuild("omop", NOW_MS)

    assert {row["drug_concept_id"] for row in read_rows(bench.lake, "drug_era")} == {2002}
    assert not list((tmp_path / "here").glob("omop/*"))


@settings(max_examples=3,
          suppress_health_check=list(HealthCheck), phases=[Phase.generate])  # fmt: skip
@given(sequence=sequences)
def test_a_few_sequences_of_changes_give_what_a_build_from_nothing_gives(
    tmp_path: Path, sequence: Any
) -> None:
    check(tmp_path / "few", sequence)


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(sequence=sequences)
def test_sequences_of_changes_give_what_a_build_from_nothing_gives(
    tmp_path: Path, sequence: Any
) -> None:
    check(tmp_path / "many", sequence)
