"""What changes gave, step by step, is what a build from nothing gives, row by row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ehr_etl import pipeline
from ehr_etl.batch import BatchWriter
from ehr_etl.data_quality.rules import load_quality_rules
from ehr_etl.gold.library import list_view_names
from ehr_etl.lake import Lake, gold_table_name, read_small_table
from ehr_etl.pipeline import LakeWriter
from ehr_etl.rebuild import silver
from ehr_etl.tables.quarantine import list_findings, list_held_versions
from ehr_fhir.errors import Conflict
from tests.lib.feed_lines import consent
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS, condition, encounter, patient

pytestmark = pytest.mark.timeout(3000)

TABLES = (
    *("silver", "silver_history", "quarantine", "decisions", "deid"),
    *("findings", "identities", "steward_decisions"),
    *(gold_table_name(view) for view in list_view_names()),
)
RULE = "period-in-order"
HIV = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}
PEOPLE = ("p1", "p2", "p3")
# What records of several people name: the stays, the diagnoses, and one of the two others.
SHARED: dict[str, dict[str, Any]] = {
    "p1": {"resourceType": "Organization", "id": "ha-harbour", "name": "Harbour"},
    "p2": {
        "resourceType": "Practitioner",
        "id": "d1",
        "qualification": [
            {"code": {"text": "MB"}, "issuer": {"reference": "Organization/ha-harbour"}}
        ],
    },
    "p3": {"resourceType": "Practitioner", "id": "d2"},
}
STEPS = (
    *("_write_quarantine", "_write_history", "_write_silver"),
    *("_write_deid_and_gold", "_write_decisions", "_write_identities", "_write_places"),
)

people = st.sampled_from(PEOPLE)
acts = st.one_of(
    st.tuples(st.just("patient"), people, st.sampled_from([None, *PEOPLE])),
    st.tuples(st.just("stay"), people, st.booleans()),
    st.tuples(st.just("diagnosis"), people, st.booleans()),
    st.tuples(st.just("delete"), people, st.sampled_from(["Patient", "Encounter", "Condition"])),
    st.tuples(st.just("joining"), people, st.booleans()),
    st.tuples(st.just("research"), people, st.booleans()),
    st.tuples(st.just("restriction"), people, st.booleans()),
    st.tuples(st.just("withdraw"), people, st.sampled_from(["joining", "research"])),
    st.tuples(st.just("label"), people, st.sampled_from(["Encounter", "Condition"])),
    st.tuples(st.just("back up"), people, st.none()),
    st.tuples(st.just("restore"), people, st.none()),
    st.tuples(st.just("rules"), people, st.booleans()),
    st.tuples(st.just("born"), people, st.sampled_from(["1956-03-04", "2030-01-01", "2026-04-01"])),
    st.tuples(st.just("shared"), people, st.booleans()),
    st.tuples(st.just("judge"), people, st.sampled_from(["release", "reject", "send-back"])),
)
works = st.sampled_from(["run", "run", "run", "crash", "repeat"])
sequences = st.lists(
    st.tuples(st.lists(acts, min_size=1, max_size=6), works, st.sampled_from(STEPS), st.booleans()),
    min_size=2,
    max_size=5,
)


class CutShort(BaseException):
    """Ends a run in its middle as a crash would: nothing catches it."""


@dataclass
class Bench:
    """A store and a lake that follows it."""

    lake: Lake
    store: FakeStore
    backup: FakeStore | None = None
    # Whether the rule that the stays break is in force.
    has_rule: bool = True

    def act(self, kind: str, who: str, what: Any) -> None:
        number = who[1:]
        if kind == "patient":
            link = [{"type": "seealso", "other": {"reference": f"Patient/{what}"}}]
            more = {"link": link} if what and what != who else {}
            self.store.put(patient(who, **more))
        elif kind == "born":
            # After some of their records, and after those were received.
            self.store.put(patient(who, birthDate=what))
        elif kind == "stay":
            bad = {"period": {"start": "2026-03-04", "end": "2026-03-01"}}
            self.store.put(encounter(f"e{number}", who, **(bad if what else {})))
        elif kind == "diagnosis":
            # Of another patient than the time before, now and then.
            owner = PEOPLE[(int(number) + bool(what)) % len(PEOPLE)]
            asserter = {"reference": f"Practitioner/d{1 + int(number) % 2}"}
            self.store.put(condition(f"c{number}", owner, f"e{number}", asserter=asserter))
        elif kind == "shared":
            shared = SHARED[who]
            if what:
                self.store.put(shared)
            elif (shared["resourceType"], shared["id"]) in self.store.newest:
                self.store.delete(shared)
        elif kind == "delete":
            name = {"Patient": who, "Encounter": f"e{number}", "Condition": f"c{number}"}[what]
            if (what, name) in self.store.newest:
                self.store.delete({"resourceType": what, "id": name})
        elif kind == "restriction":
            label = {"securityLabel": [HIV]} if what else {}
            self.store.put(consent(who, "restriction", permit=False, **label))
        elif kind == "withdraw":
            if ("Consent", f"{what}-{who}") in self.store.newest:
                self.store.delete(consent(who, what))
        elif kind == "label":
            self.store.add_label((what, f"{what[0].lower()}{number}"), "HIV")
        elif kind == "back up":
            self.backup = self.store.back_up()
        elif kind == "restore":
            if self.backup is not None:
                self.store.restore(self.backup)
        elif kind == "rules":
            self.has_rule = bool(what)
        elif kind == "judge":
            waiting = [*list_held_versions(self.lake), *list_findings(self.lake)]
            for held in waiting[int(number) % 2 :][:1]:
                if held.type and held.id and held.version:
                    self.store.judge((held.type, held.id), held.version, what)
        elif kind == "joining":
            status = "active" if what else "inactive"
            self.store.put({**consent(who, "joining"), "status": status})
        else:
            self.store.put(consent(who, kind, permit=bool(what)))

    def run(self) -> None:
        with self.rules_in_force():
            try:
                self.run_once()
            except Conflict:
                # Of a store that was put back further than the lake has read; as the error says.
                shutil.rmtree(self.lake.root)
                self.run_once()

    def run_once(self) -> None:
        with LakeWriter(self.lake, KEY) as writer:
            writer.take_in(self.store)
            writer.bring_up(NOW_MS)

    def rebuild(self) -> None:
        with self.rules_in_force(), LakeWriter(self.lake, KEY) as writer:
            writer.rebuild("silver", NOW_MS)

    @contextmanager
    def rules_in_force(self) -> Iterator[None]:
        rules = load_quality_rules()
        if not self.has_rule:
            rules = replace(rules, rules=tuple(r for r in rules.rules if r.name != RULE))
        with pytest.MonkeyPatch.context() as patch:
            for module in (pipeline, silver):
                patch.setattr(module, "load_quality_rules", lambda: rules)
            patch.setattr(pipeline, "rules_digest", lambda: f"with the rule: {self.has_rule}")
            yield

    def run_cut_short(self, step: str, is_after: bool) -> None:
        original: Callable[..., Any] = getattr(BatchWriter, step)

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
        return {table: rows_of(self.lake, table) for table in TABLES}


def rows_of(lake: Lake, table: str) -> list[str]:
    """Return the rows as text, without their buckets, of which two lakes have other numbers."""
    found = read_small_table(lake, table).to_pylist()
    kept = [{name: row[name] for name in row if name != "bucket"} for row in found]
    return sorted(json.dumps(row, sort_keys=True) for row in kept)


def follow(folder: Path, sequence: Any) -> Bench:
    """Let a lake follow a store through a sequence of acts and runs, and settle."""
    bench = Bench(Lake(folder / "followed"), FakeStore())
    bench.run()
    for listed, work, step, is_after in sequence:
        for act in listed:
            bench.act(*act)
        bench.store.is_repeating = work == "repeat"
        if work == "crash":
            bench.run_cut_short(step, is_after)
        else:
            bench.run()
    bench.store.is_repeating = False
    bench.run()
    return bench


def build_from_nothing(bench: Bench, folder: Path) -> Bench:
    """Let a new lake read all of a store at once."""
    other = Bench(Lake(folder / "anew"), bench.store, has_rule=bench.has_rule)
    other.run()
    return other


@pytest.fixture(autouse=True)
def many_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "ROWS_PER_BUCKET", 1)
    monkeypatch.setattr(pipeline, "_CROWDED", 10**9)
    monkeypatch.setattr(pipeline, "_FEWEST_BUCKETS", 5)


def check(folder: Path, sequence: Any) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    bench = follow(folder, sequence)
    followed = bench.tables()

    assert build_from_nothing(bench, folder).tables() == followed
    bench.rebuild()
    assert bench.tables() == followed


EVERY_ACT = [
    (
        [("patient", "p1", None), ("patient", "p2", None), ("joining", "p1", True),
         ("joining", "p2", True), ("stay", "p1", False), ("stay", "p2", False),
         ("diagnosis", "p1", False), ("diagnosis", "p2", True)],
        "run", "_write_silver", False,
    ),
    (
        [("stay", "p1", True), ("label", "p2", "Condition"), ("restriction", "p3", True),
         ("diagnosis", "p1", True)],
        "crash", "_write_deid_and_gold", False,
    ),
    (
        [("judge", "p2", "release"), ("patient", "p3", "p2"), ("research", "p1", False),
         ("born", "p2", "2026-04-01")],
        "crash", "_write_deid_and_gold", True,
    ),
    (
        [("judge", "p1", "reject"), ("judge", "p2", "release"), ("delete", "p1", "Encounter")],
        "crash", "_write_identities", False,
    ),
    ([("shared", "p1", True), ("shared", "p2", True)], "crash", "_write_places", False),
    ([("shared", "p1", False), ("shared", "p3", True)], "crash", "_write_silver", True),
    (
        [("delete", "p2", "Patient"), ("withdraw", "p1", "research"), ("back up", "p1", None)],
        "repeat", "_write_places", True,
    ),
    (
        [("rules", "p1", False), ("stay", "p2", True), ("restore", "p1", None)],
        "run", "_write_places", True,
    ),
    ([("stay", "p2", True), ("restriction", "p2", False)], "run", "_write_places", True),
    ([("restore", "p1", None), ("rules", "p1", True)], "run", "_write_places", True),
]  # fmt: skip


def test_every_kind_of_change_gives_what_a_rebuild_gives(tmp_path: Path) -> None:
    check(tmp_path, EVERY_ACT)


@settings(
    max_examples=10,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(sequence=sequences)
def test_a_few_sequences_of_changes_give_what_a_build_from_nothing_gives(
    tmp_path: Path, sequence: Any
) -> None:
    check(tmp_path / "few", sequence)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(sequence=sequences)
def test_sequences_of_changes_give_what_a_rebuild_gives(tmp_path: Path, sequence: Any) -> None:
    check(tmp_path / "many", sequence)
