"""An erasure in the lake: no byte of the patient stays, and nothing of anybody else changes."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ehr_cli.commands import erasure as erasure_command
from ehr_cli.settings import Settings
from ehr_etl.erasure.byte_search import ByteSearch
from ehr_etl.erasure.erased_lines import find_erased
from ehr_etl.erasure.folder_scan import FolderScan, scan_folder
from ehr_etl.erasure.lake_erasure import list_lake_tables
from ehr_etl.erasure.table_files import drop_old_files
from ehr_etl.gold.delta_views import save_definition, write_view_table
from ehr_etl.gold.library import list_view_names
from ehr_etl.gold.notes import keep_notes
from ehr_etl.jobs import LocalRunner
from ehr_etl.lake import Lake, gold_table_name, read_small_table
from ehr_etl.maintenance import list_files_in_use
from ehr_etl.omop.identifiers import person_key
from ehr_etl.omop.state import OmopState, save_state
from ehr_etl.omop.writer import list_omop_tables
from ehr_etl.pipeline import LakeWriter
from ehr_etl.writer_lock import hold_writer_lock
from ehr_privacy.deid import pseudonym
from ehr_privacy.erasure import hash_patient
from tests.lib.feed_lines import consent
from tests.lib.killed_states import record_states
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS, condition, encounter, patient, rows

pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).resolve().parents[2]
ERASURE_KEY = b"e" * 32
TABLES = (
    *("silver", "silver_history", "quarantine", "findings", "identities", "decisions", "deid"),
    *(gold_table_name(view) for view in list_view_names()),
    *(name for name in list_omop_tables() if name != "omop/metadata"),
)
PLAIN_TABLES = tuple(name for name in TABLES if not name.startswith("omop"))
BAD_PERIOD = {"period": {"start": "2026-03-04", "end": "2026-03-01"}}
LINKED = {"link": [{"type": "seealso", "other": {"reference": "Patient/p-gone"}}]}
USERS_VIEW = {
    "resourceType": "ViewDefinition",
    "name": "users_stays",
    "status": "active",
    "resource": "Encounter",
    "select": [{"column": [{"name": "key", "path": "getResourceKey()"}]}],
}
RECORDS = (
    *("Patient/p-gone", "Encounter/e-gone", "Encounter/e-bad", "Encounter/e-freed"),
    *("Condition/c-gone", "Consent/joining-p-gone", "Consent/research-p-gone"),
    *("Observation/m-gone", "Observation/m-both"),
)
PERSONS = {person_key(pseudonym(KEY, "Patient/p-gone"))}
OBSERVATION_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
SAME = [{"system": "https://hospital/mrn", "value": "twins-number"}]


def marked(number: int) -> str:
    """Return a text that stands nowhere else."""
    return f"zqmark{number:03}zq"


def unnamed(who: str, **changed: Any) -> dict[str, Any]:
    """Return a patient of whom little is known."""
    found = {**patient(who), "name": [{"family": "Wong"}], **changed}
    return {name: found[name] for name in found if name not in ("telecom", "address", "identifier")}


def measurement(identifier: str, whose: str, **changed: Any) -> dict[str, Any]:
    """Return a weight that was taken."""
    return {
        "resourceType": "Observation",
        "id": identifier,
        "status": "final",
        "category": [
            {"coding": [{"system": OBSERVATION_CATEGORY, "code": "vital-signs"}]},
        ],
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "subject": {"reference": f"Patient/{whose}"},
        "effectiveDateTime": "2026-03-02T09:00:00+08:00",
        "valueQuantity": {"value": 61, "system": "http://unitsofmeasure.org", "code": "kg"},
        **changed,
    }


def fill(store: FakeStore) -> None:
    """Write two patients who stay and one whose every text is a mark."""
    for who in ("p-stays", "p-other", "p-twin"):
        store.put(unnamed(who))
        store.put(consent(who, "joining"))
        store.put(encounter(f"e-{who}", who))
    texts = {
        "identifier": [*SAME, {"system": "https://hospital/mrn", "value": marked(1)}],
        "name": [{"family": marked(2), "given": [marked(3)]}],
        "telecom": [{"system": "phone", "value": marked(4)}],
        "address": [{"line": [marked(5)], "district": "Yau Tsim Mong", "country": "HK"}],
    }
    store.put({**patient("p-gone"), **texts})
    store.put(consent("p-gone", "joining"))
    store.put(consent("p-gone", "research"))
    store.put(encounter("e-gone", "p-gone", reasonCode=[{"text": marked(6)}]))
    store.put(encounter("e-gone", "p-gone", reasonCode=[{"text": marked(7)}]))
    store.put(encounter("e-bad", "p-gone", reasonCode=[{"text": marked(8)}], **BAD_PERIOD))
    store.put(encounter("e-freed", "p-gone", reasonCode=[{"text": marked(9)}], **BAD_PERIOD))
    store.put(condition("c-gone", "p-gone", "e-gone", note=[{"text": marked(10)}]))
    store.add_label(("Condition", "c-gone"), "HIV")
    store.put(measurement("m-gone", "p-gone", encounter={"reference": "Encounter/e-gone"}))
    # Of two patients: it goes whole, and what is like it is no duplicate any more.
    store.put(measurement("m-both", "p-stays", performer=[{"reference": "Patient/p-gone"}]))
    store.put(measurement("m-like", "p-stays"))
    # Others' records that name the patient, or were once filed under the patient.
    store.put(unnamed("p-other", **LINKED))
    store.put({**unnamed("p-twin"), "identifier": SAME})
    store.put(measurement("m-other", "p-other", encounter={"reference": "Encounter/e-gone"}))
    # The newest good version is the patient's, the one before it another's, the last one is held.
    store.put(encounter("e-turned", "p-stays"))
    store.put(encounter("e-turned", "p-gone", reasonCode=[{"text": marked(11)}]))
    store.put(encounter("e-turned", "p-stays", **BAD_PERIOD))
    store.put(condition("c-moved", "p-gone", "e-gone", note=[{"text": marked(11)}]))
    store.put(condition("c-moved", "p-stays", "e-p-stays", note=[{"text": "of the right one"}]))


def apply(lake: Lake, store: FakeStore) -> None:
    """Take in the feed and bring the tables up to it."""
    with LakeWriter(lake, KEY, LocalRunner(1), read_erasure_key=lambda: ERASURE_KEY) as writer:
        writer.take_in(store)
        writer.bring_up(NOW_MS)


def find_left(folder: Path) -> dict[str, set[str]]:
    """Return the files of a folder that hold something of the erased patient, and what."""
    ids = {name for record in RECORDS for name in (record, record.partition("/")[2])}
    texts = {marked(number) for number in range(1, 12)}
    pseudonyms = {pseudonym(KEY, record) for record in RECORDS}
    scan = FolderScan()
    scan_folder(scan, folder, ByteSearch(texts | pseudonyms, ids, PERSONS))
    assert scan.unreadable == []
    return scan.hits


def compare(lake: Lake, table: str) -> list[str]:
    """Return the rows of a table; JSON in them without the spaces of the made-up feed."""
    return [row.replace('\\": ', '\\":').replace(', \\"', ',\\"') for row in rows(lake, table)]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, FakeStore]:
    """Return a lake in which everything that can happen to the patient's records did."""
    lake, store = Lake(tmp_path_factory.mktemp("full") / "lake"), FakeStore()
    fill(store)
    save_state(lake, OmopState())
    keep_notes(lake)
    apply(lake, store)
    write_view_table(lake, save_definition(lake, USERS_VIEW))
    store.judge(("Encounter", "e-freed"), 1, "release")
    apply(lake, store)
    store.put(encounter("e-p-stays", "p-stays", reasonCode=[{"text": "seen"}]))
    apply(lake, store)
    return lake, store


@pytest.fixture
def copied(full: tuple[Lake, FakeStore], tmp_path: Path) -> tuple[Lake, FakeStore]:
    """Return a copy of that lake, and of its store."""
    import copy

    shutil.copytree(full[0].root, tmp_path / "lake")
    return Lake(tmp_path / "lake"), copy.deepcopy(full[1])


def test_the_feed_alone_erases_every_byte(copied: tuple[Lake, FakeStore]) -> None:
    lake, store = copied
    places = set(find_left(lake.root))
    for table in ("bronze", "silver", "silver_history", "quarantine", "decisions", "deid", "places",
                  "findings", "gold/users_stays", "gold/condition_flat",
                  "omop/person", "omop/visit_occurrence", "omop/measurement",
                  "omop_etl/source_records"):  # fmt: skip
        assert any(name.startswith(f"{table}/") for name in places), table
    assert read_small_table(lake, "steward_decisions").num_rows == 1

    store.erase("p-gone", ERASURE_KEY)
    apply(lake, store)

    assert find_left(lake.root) == {}
    assert read_small_table(lake, "steward_decisions").num_rows == 0


def test_nothing_of_anybody_else_changes_and_a_rebuild_gives_the_same(
    copied: tuple[Lake, FakeStore], tmp_path: Path
) -> None:
    lake, store = copied
    stays = {
        table: [row for row in rows(lake, table) if "p-stays" in row or "p-other" in row]
        for table in ("silver", "silver_history", "decisions")
    }
    pseudonyms = [pseudonym(KEY, name) for name in ("Encounter/e-p-stays", "Encounter/e-p-other")]
    research = [row for row in rows(lake, "deid") if any(name in row for name in pseudonyms)]

    store.erase("p-gone", ERASURE_KEY)
    apply(lake, store)

    for table, before in stays.items():
        kept = [row for row in before if "p-gone" not in row and "e-gone" not in row]
        now = rows(lake, table)
        assert [row for row in kept if row not in now] == [], table
    assert [row for row in research if row not in rows(lake, "deid")] == []
    (other,) = [row for row in rows(lake, "silver") if '"p-other"' in row and "Patient" in row]
    assert "Erased record" in other
    fresh = Lake(tmp_path / "fresh")
    save_state(fresh, OmopState())
    apply(fresh, store)
    for table in TABLES:
        assert compare(lake, table) == compare(fresh, table), table
    apply(lake, store)
    with LakeWriter(lake, KEY, LocalRunner(1), read_erasure_key=lambda: ERASURE_KEY) as writer:
        writer.rebuild("silver", NOW_MS)
    for table in TABLES:
        assert compare(lake, table) == compare(fresh, table), table


def test_no_id_is_in_a_commit_of_the_erasure(
    copied: tuple[Lake, FakeStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, _ = copied
    # The log as it would be if nothing cleaned it.
    monkeypatch.setattr("ehr_etl.erasure.lake_erasure.drop_old_files", lambda lake, name: None)
    before = {path for path in lake.root.rglob("_delta_log/*.json")}

    with LakeWriter(lake, KEY, LocalRunner(1), read_erasure_key=lambda: ERASURE_KEY) as writer:
        writer.erase([hash_patient(ERASURE_KEY, "p-gone")], NOW_MS)

    new = "".join(
        path.read_text("utf-8") for path in lake.root.rglob("_delta_log/*.json")
        if path not in before
    )  # fmt: skip
    assert new
    for name in ("p-gone", "e-gone", pseudonym(KEY, "Patient/p-gone")):
        commits = [line for line in new.splitlines() if '"commitInfo"' in line and name in line]
        assert commits == []


def list_data_files(lake: Lake) -> dict[str, set[str]]:
    """Return the data files of each table's newest version."""
    return {
        name: set(list_files_in_use(lake.open_table(name)))
        for name in list_lake_tables(lake)
        if lake.open_table(name).version() > 0
    }


def test_only_files_with_rows_of_the_patient_are_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ehr_etl.pipeline._FEWEST_BUCKETS", 64)
    lake, store = Lake(tmp_path / "lake"), FakeStore()
    save_state(lake, OmopState())
    for number in range(40):
        store.put(unnamed(f"p-{number}", birthDate=f"19{number + 20}-01-02"))
        store.put(consent(f"p-{number}", "joining"))
        store.put(encounter(f"e-{number}", f"p-{number}"))
        store.put(condition(f"c-{number}", f"p-{number}", f"e-{number}"))
        if number % 10 == 9:
            # Each time a file of the tables without buckets.
            apply(lake, store)
    before = list_data_files(lake)

    def fail(*arguments: Any, **named: Any) -> None:
        raise AssertionError("A table was made anew whole.")

    for name in ("rebuild_silver", "rebuild_research", "rebuild_omop", "forget_tables"):
        monkeypatch.setattr(f"ehr_etl.pipeline.{name}", fail)
    with LakeWriter(lake, KEY, LocalRunner(1), read_erasure_key=lambda: ERASURE_KEY) as writer:
        writer.erase([hash_patient(ERASURE_KEY, "p-17")], NOW_MS)

    after = list_data_files(lake)
    for table, files in before.items():
        kept = after[table] & files
        gone = len(files) - len(kept)
        if table in ("decisions", "identities", "places"):
            # By the patient, by each of their records, or by each hash of an identity.
            assert 1 <= gone <= 8, table
        elif table in ("bronze", "silver_history"):
            # Of four runs of two pages each.
            assert gone in (1, 2) and len(kept) >= 3, table
        else:
            # The bucket of the patient.
            assert gone <= 1, table
            assert len(after[table] - files) <= 1, table
    assert len(before["silver"]) > 25
    assert not any("p-17" in row for row in rows(lake, "silver"))


KILLED = """
import sys
from pathlib import Path
from ehr_etl.lake import Lake
from ehr_etl.pipeline import LakeWriter
from ehr_privacy.erasure import hash_patient

key, erasure_key = bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
with LakeWriter(Lake(Path(sys.argv[1])), key, read_erasure_key=lambda: erasure_key) as writer:
    print("begun", flush=True)
    writer.erase([hash_patient(erasure_key, "p-gone")], int(sys.argv[4]))
    print("done", flush=True)
"""


@dataclass(frozen=True)
class KilledStates:
    """In what states a kill can leave a lake in an erasure; `whole` is one that nothing killed."""

    folders: list[Path]
    whole: Lake
    store: FakeStore


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> KilledStates:
    """Erase the patient from a lake without OMOP tables and notes, which take most of the time."""
    folder = tmp_path_factory.mktemp("killed")
    lake, store = Lake(folder / "lake"), FakeStore()
    fill(store)
    apply(lake, store)
    write_view_table(lake, save_definition(lake, USERS_VIEW))
    store.judge(("Encounter", "e-freed"), 1, "release")
    apply(lake, store)
    store.put(encounter("e-p-stays", "p-stays", reasonCode=[{"text": "seen"}]))
    apply(lake, store)
    store.erase("p-gone", ERASURE_KEY)
    with record_states(lake, folder) as states:
        apply(lake, store)
    return KilledStates(states, lake, store)


def test_an_erasure_that_was_killed_anywhere_finds_the_same_lines_again(
    killed: KilledStates,
) -> None:
    hashes = [hash_patient(ERASURE_KEY, "p-gone")]
    found = [find_erased(Lake(state), ERASURE_KEY, hashes) for state in killed.folders]
    whole = next(erasure for erasure in found if erasure.patients)

    assert {frozenset(erasure.sequences) for erasure in found} == {
        frozenset(whole.sequences),
        frozenset(),
    }
    assert len(whole.sequences) > 10


def test_an_erasure_that_was_killed_is_finished_by_the_next_run(killed: KilledStates) -> None:
    states = killed.folders
    bronze = next(n for n, state in enumerate(states) if _is_erased_from_bronze(state))

    # Every step of bronze, and of the others some of each kind.
    check_next_run(killed, [*states[1:bronze:8], *states[bronze - 2 : bronze + 3], states[-1]])


@pytest.mark.slow
def test_an_erasure_that_was_killed_anywhere_is_finished_by_the_next_run(
    killed: KilledStates,
) -> None:
    check_next_run(killed, killed.folders)


def _is_erased_from_bronze(state: Path) -> bool:
    return not find_erased(Lake(state), ERASURE_KEY, [hash_patient(ERASURE_KEY, "p-gone")]).patients


def test_the_command_waits_until_the_process_that_follows_has_deleted_old_files(
    killed: KilledStates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = next(state for state in killed.folders if _is_erased_from_bronze(state))
    lake = Lake(tmp_path / "lake")
    shutil.copytree(done, lake.root)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "erasure.key").write_bytes(ERASURE_KEY)
    (tmp_path / "keys" / "deid.key").write_bytes(KEY)
    waits: list[float] = []

    def delete_old_files(seconds: float) -> None:
        waits.append(seconds)
        for name in list_lake_tables(lake):
            drop_old_files(lake, name)

    monkeypatch.setattr(erasure_command, "time", SimpleNamespace(
        sleep=delete_old_files, monotonic=lambda: 0.0
    ))  # fmt: skip
    hashes = (hash_patient(ERASURE_KEY, "p-gone"),)
    assert find_left(lake.root)

    with hold_writer_lock(lake):
        erasure_command._erase_from_lake(
            Settings(data=tmp_path), erasure_command.Erasure("e1", hashes, None)
        )

    assert len(waits) == 1
    assert find_left(lake.root) == {}


def check_next_run(killed: KilledStates, states: Iterable[Path]) -> None:
    """Run over the lake as a kill left it; compare with one that nothing killed."""
    wanted = {table: compare(killed.whole, table) for table in PLAIN_TABLES}
    for state in states:
        lake = Lake(state.with_name(f"next-{state.name}"))
        shutil.copytree(state, lake.root)

        apply(lake, killed.store)

        assert find_left(lake.root) == {}, state.name
        for table in PLAIN_TABLES:
            assert compare(lake, table) == wanted[table], (state.name, table)
        shutil.rmtree(lake.root)


def test_what_killed_runs_left_of_the_patient_is_erased_as_well(
    copied: tuple[Lake, FakeStore],
) -> None:
    lake, store = copied
    partial = lake.promotions_file.with_suffix(".partial")
    partial.write_text(json.dumps({"condition_flat": {pseudonym(KEY, "Condition/c-gone"): []}}))
    for table in list_lake_tables(lake):
        log = lake.table_path(table) / "_delta_log"
        for file in (*sorted(log.glob("*.json"))[-1:], *lake.table_path(table).rglob("*.parquet")):
            shutil.copyfile(file, file.with_name(f"{file.name}#1"))
            if log not in file.parents:
                shutil.copyfile(file, file.with_name(f"orphan-{file.name}"))
    half_deleted = lake.table_path("gold/dropped")
    shutil.copytree(lake.table_path("gold/condition_flat"), half_deleted)
    shutil.rmtree(half_deleted / "_delta_log")
    left = find_left(lake.root)
    assert "promotions.partial" in left
    assert any(name.startswith("gold/dropped/") for name in left)
    assert any(name.startswith("deid/_delta_log/") and name.endswith("#1") for name in left)

    store.erase("p-gone", ERASURE_KEY)
    apply(lake, store)

    assert find_left(lake.root) == {}


@pytest.mark.slow
def test_an_erasure_that_was_killed_at_any_instant_is_finished_by_the_next_run(
    copied: tuple[Lake, FakeStore], tmp_path: Path
) -> None:
    lake, store = copied
    store.erase("p-gone", ERASURE_KEY)
    chance = random.Random(40)
    whole = tmp_path / "whole"
    shutil.copytree(lake.root, whole)
    apply(Lake(whole), store)
    seconds = _time_erasure(tmp_path, lake)

    for number in range(40):
        killed = tmp_path / f"killed-{number}"
        shutil.copytree(lake.root, killed)
        _kill_after(killed, chance.uniform(0, seconds))
        apply(Lake(killed), store)

        assert find_left(killed) == {}, number
        for table in TABLES:
            assert compare(Lake(killed), table) == compare(Lake(whole), table), (number, table)
        assert _is_erased_from_bronze(killed)
        shutil.rmtree(killed)


def _start(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), KEY.hex(), ERASURE_KEY.hex(), str(NOW_MS)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def _time_erasure(tmp_path: Path, lake: Lake) -> float:
    """Return how long an undisturbed erasure takes."""
    shutil.copytree(lake.root, tmp_path / "timed")
    process = _start(tmp_path / "timed")
    started = time.monotonic()
    assert process.wait() == 0
    return time.monotonic() - started


def _kill_after(folder: Path, seconds: float) -> None:
    process = _start(folder)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
