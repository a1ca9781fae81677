"""Which version of a model scores: two people, gates met, files as they were signed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_fhir.errors import Conflict, EhrError, Fault, Invalid, NotFound, Unavailable
from ehr_models.decisions import Action, Decision
from ehr_models.model_store import ModelStore, ModelVersion
from ehr_models.promotion import PromotionRegister
from ehr_models.version_files import (
    GATES_FILE,
    TRAINER_FILE,
    GateResult,
    read_gates,
    write_gates,
    write_trainer,
)

TASK = "falls"
NOW = datetime(2026, 1, 5, tzinfo=UTC)
PASSED = (GateResult("outcomes", True, "240 outcomes; 100 are needed."),)
FAILED = (*PASSED, GateResult("better", False, "It is not better than LACE."))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


@pytest.fixture
def register(store: ModelStore) -> PromotionRegister:
    return PromotionRegister(store, lambda: NOW)


def save(store: ModelStore, gates: tuple[GateResult, ...] = PASSED) -> ModelVersion:
    files = {
        "model.json": b"{}",
        GATES_FILE: write_gates(gates),
        TRAINER_FILE: write_trainer(["lau", "lau.2"]),
    }
    return store.save_version(TASK, files, NOW)


def promote(register: PromotionRegister, number: int) -> None:
    register.promote(TASK, number, "ng", "Better than LACE.")
    register.promote(TASK, number, "tse", "Read the report.")


def test_a_version_is_read_as_it_was_saved(store: ModelStore) -> None:
    saved = save(store)

    assert (saved.number, store.list_versions(TASK)) == (1, (1,))
    assert store.read_version(TASK, 1) == saved
    assert read_gates(saved) == PASSED


def test_versions_saved_at_once_have_numbers_of_their_own(store: ModelStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: save(store).number, range(24)))

    assert sorted(numbers) == list(range(1, 25))
    assert not list(store.folder.rglob(".partial-*"))


@pytest.mark.parametrize("name", ["model.json", GATES_FILE, "manifest.json", "manifest.sig"])
def test_changed_files_are_not_loaded(store: ModelStore, name: str) -> None:
    save(store)
    path = store.folder / TASK / "versions" / "1" / name
    path.write_bytes(path.read_bytes() + b" ")

    with pytest.raises(Fault):
        store.read_version(TASK, 1)
    path.unlink()
    with pytest.raises(Fault):
        store.read_version(TASK, 1)


def test_a_version_is_of_its_task_number_and_platform(store: ModelStore, tmp_path: Path) -> None:
    save(store)
    versions = store.folder / TASK / "versions"
    shutil.copytree(versions / "1", versions / "2")
    shutil.copytree(versions / "1", store.folder / "stroke" / "versions" / "1")
    other = tmp_path / "other"
    other.mkdir()
    save(ModelStore(other))
    shutil.copytree(other / "models" / TASK / "versions" / "1", versions / "3")

    for task, number in ((TASK, 2), ("stroke", 1), (TASK, 3)):
        with pytest.raises(Fault):
            store.read_version(task, number)
    for task, number in ((TASK, 4), ("..", 1), ("a/b", 1)):
        with pytest.raises(NotFound):
            store.read_version(task, number)


def test_two_people_promote(store: ModelStore, register: PromotionRegister) -> None:
    save(store)
    save(store)

    assert register.promote(TASK, 1, "ng", "Good.").action is Action.PROPOSE
    assert register.find_champion(TASK) is None
    for who, *names in (("ng",), ("ng.steward", "ng")):
        with pytest.raises(Conflict, match="Another person"):
            register.promote(TASK, 1, who, "Good.", names=names)
    # Another version is a proposal of its own, which takes the place of the first.
    assert register.promote(TASK, 2, "tse", "Better.").action is Action.PROPOSE
    assert register.promote(TASK, 2, "ng", "Agreed.").action is Action.PROMOTE

    assert register.get_champion(TASK) == store.read_version(TASK, 2)
    assert register.find_proposal(TASK) is None
    with pytest.raises(Conflict, match="already"):
        register.promote(TASK, 2, "tse", "Again.")


def test_no_version_passes_over_its_gates(store: ModelStore, register: PromotionRegister) -> None:
    save(store, FAILED)

    with pytest.raises(Conflict, match="not better than LACE"):
        register.promote(TASK, 1, "ng", "Good.")
    save(store, ())
    with pytest.raises(Conflict, match="not judged"):
        register.promote(TASK, 2, "ng", "Good.")
    assert register.list_decisions(TASK) == ()


def test_a_proposal_is_of_the_files_that_were_read(
    store: ModelStore, register: PromotionRegister
) -> None:
    save(store)
    register.promote(TASK, 1, "ng", "Good.")
    shutil.rmtree(store.folder / TASK / "versions" / "1")
    save(store, (*PASSED, *PASSED))

    assert register.promote(TASK, 1, "tse", "Good.").action is Action.PROPOSE


def test_other_files_under_the_number_of_a_promoted_version_score_nobody(
    store: ModelStore, register: PromotionRegister
) -> None:
    for number in (1, 2):
        save(store)
        register.set_shadow(TASK, number, "ng", "To see.")
        if number == 1:
            promote(register, 1)
        shutil.rmtree(store.folder / TASK / "versions" / str(number))
        store.save_version(TASK, {"model.json": b"[]", GATES_FILE: write_gates(FAILED)}, NOW)
    assert store.list_versions(TASK) == (1, 2)

    for read in (register.get_champion, register.get_shadow, register.choose_version):
        with pytest.raises(Fault, match="other files"):
            read(TASK)


def test_a_damaged_version_before_keeps_no_champion_in_its_place(
    store: ModelStore, register: PromotionRegister
) -> None:
    for number in (1, 2):
        save(store)
        promote(register, number)
    shutil.rmtree(store.folder / TASK / "versions" / "1")

    assert register.roll_back(TASK, "ng", "Alerts doubled.").number == 1
    with pytest.raises(NotFound):
        register.get_champion(TASK)


def test_rolling_back_leads_to_the_champion_before(
    store: ModelStore, register: PromotionRegister
) -> None:
    for number in (1, 2, 3):
        save(store)
        promote(register, number)

    assert register.roll_back(TASK, "ng", "Alerts doubled.").number == 2
    assert register.roll_back(TASK, "ng", "Still.").number == 1
    promote(register, 3)
    assert register.roll_back(TASK, "ng", "No.").number == 1
    assert register.roll_back(TASK, "ng", "None.").number is None
    assert register.find_champion(TASK) is None
    with pytest.raises(Conflict):
        register.roll_back(TASK, "ng", "None.")


def test_a_shadow_ends_by_word_or_by_promotion(
    store: ModelStore, register: PromotionRegister
) -> None:
    save(store, FAILED)
    save(store)
    register.set_shadow(TASK, 1, "ng", "To see how many it alerts on.")
    assert register.find_shadow(TASK) == 1
    register.set_shadow(TASK, None, "ng", "Seen.")
    register.set_shadow(TASK, 2, "ng", "To see.")

    register.promote(TASK, 2, "ng", "Good.")
    assert register.find_shadow(TASK) == 2
    register.promote(TASK, 2, "tse", "Good.")
    assert register.find_shadow(TASK) is None
    with pytest.raises(Conflict):
        register.set_shadow(TASK, 2, "ng", "Again.")
    with pytest.raises(Conflict):
        register.set_shadow(TASK, None, "ng", "Again.")


def test_a_decision_states_its_reason(store: ModelStore, register: PromotionRegister) -> None:
    save(store)

    with pytest.raises(Invalid):
        register.promote(TASK, 1, "ng", "  ")


def test_of_those_who_confirm_at_once_one_does(
    store: ModelStore, register: PromotionRegister
) -> None:
    save(store)
    register.promote(TASK, 1, "ng", "Good.")

    def confirm(number: int) -> Decision | None:
        try:
            return register.promote(TASK, 1, f"steward.{number}", "Good.")
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [one for one in pool.map(confirm, range(8)) if one is not None]

    assert [one.action for one in made] == [Action.PROMOTE]


def test_who_trained_a_version_neither_proposes_nor_confirms_it(
    store: ModelStore, register: PromotionRegister
) -> None:
    save(store)
    # By whichever account.
    for who, *names in (("lau",), ("lau.2",), ("lau.3", "lau")):
        with pytest.raises(Conflict, match="trained"):
            register.promote(TASK, 1, who, "Mine.", names=names)
    register.promote(TASK, 1, "ng", "Good.")
    with pytest.raises(Conflict, match="trained"):
        register.promote(TASK, 1, "lau", "Mine.")
    files = {"model.json": b"{}", GATES_FILE: write_gates(PASSED)}
    store.save_version(TASK, files, NOW)
    with pytest.raises(Conflict, match="nobody is on record who trained it"):
        register.promote(TASK, 2, "ng", "Good.")

    assert [one.action for one in register.list_decisions(TASK)] == [Action.PROPOSE]


CONFIRM = """
import sys
from pathlib import Path
from ehr_fhir.errors import Conflict
from ehr_models.model_store import ModelStore
from ehr_models.promotion import PromotionRegister

folder, who = Path(sys.argv[1]), sys.argv[2]
register = PromotionRegister(ModelStore(folder))
print("ready", flush=True)
sys.stdin.readline()
try:
    print(register.promote("falls", 1, who, "Good.").action.value)
except Conflict:
    print("refused")
"""


def test_of_two_processes_that_promote_at_once_one_proposes_and_the_other_confirms(
    store: ModelStore, register: PromotionRegister, tmp_path: Path
) -> None:
    """And of one person in two processes, the second is refused."""
    for people, expected in ((("ng", "tse"), ["promote", "propose"]), (("ng", "ng"), None)):
        if expected is None:
            register.roll_back(TASK, "tse", "Again.")
        else:
            save(store)
        running = [
            subprocess.Popen(
                [sys.executable, "-c", CONFIRM, str(tmp_path), who],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for who in people
        ]
        for process in running:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = sorted(process.communicate(timeout=600)[0].strip() for process in running)
        assert said == (expected or ["propose", "refused"])


class Log:
    """An audit log that is told of all decisions when a test says so."""

    def __init__(self) -> None:
        self.records: list[Mapping[str, Any]] = []

    def read_decisions(self) -> Sequence[Mapping[str, Any]]:
        return self.records


@pytest.fixture
def logged(store: ModelStore) -> PromotionRegister:
    """Return a register of which a version was promoted, rolled back and promoted again."""
    save(store)
    register = PromotionRegister(store, lambda: NOW, log=Log())
    promote(register, 1)
    register.roll_back(TASK, "ng", "Alerts doubled.")
    promote(register, 1)
    tell(register)
    return register


def tell(register: PromotionRegister) -> None:
    assert isinstance(register.log, Log)
    register.log.records = list(register.list_records())


def test_a_promotion_scores_once_the_log_has_it_and_a_roll_back_at_once(
    logged: PromotionRegister,
) -> None:
    assert logged.get_champion(TASK).number == 1
    logged.roll_back(TASK, "ng", "Again.")
    with pytest.raises(NotFound):
        logged.get_champion(TASK)
    promote(logged, 1)
    with pytest.raises(Unavailable, match="not in the audit log yet"):
        logged.get_champion(TASK)
    tell(logged)
    assert logged.get_champion(TASK).number == 1


def edit(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP TRIGGER model_decision_keeps; DROP TRIGGER model_decision_stays;" + statement
        )


@pytest.mark.parametrize(
    ("statement", "missing", "put_in"),
    [
        ("UPDATE model_decision SET who = 'lee' WHERE position = 2", (2,), (2,)),
        ("UPDATE model_decision SET digest = 'ab' WHERE position = 5", (5,), (5,)),
        # An older file has no roll-back yet.
        ("DELETE FROM model_decision WHERE position > 2", (3, 4, 5), ()),
        ("DELETE FROM model_decision WHERE position = 3", (3,), ()),
        (
            "INSERT INTO model_decision SELECT -1, at, task, number, action, who, reason, digest"
            " FROM model_decision WHERE position = 2",
            (),
            (-1,),
        ),
    ],
)
def test_decisions_that_are_not_those_of_the_log_let_nothing_score_until_they_are_restored(
    logged: PromotionRegister,
    statement: str,
    missing: tuple[int, ...],
    put_in: tuple[int, ...],
) -> None:
    path = logged.store.folder / "decisions.db"
    before = logged.list_records()
    edit(path, statement)

    compared = logged.compare_log()
    assert (compared.missing, compared.put_in, compared.holds) == (missing, put_in, False)
    for read in (logged.get_champion, logged.get_shadow):
        with pytest.raises(Fault, match="not those of the audit log"):
            read(TASK)

    assert logged.restore_from_log() == 5
    assert logged.list_records() == before
    assert logged.get_champion(TASK).number == 1
    assert path.with_name("decisions.db.rejected").exists()


def test_without_its_file_of_decisions_nothing_scores(logged: PromotionRegister) -> None:
    path = logged.store.folder / "decisions.db"
    for content in (None, b"no database" * 500):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(Fault):
            logged.get_champion(TASK)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["promote", "roll_back", "shadow", "end_shadow"]),
        st.sampled_from(["ng", "tse"]),
        st.integers(1, 3),
    ),
    max_size=12,
)


@given(STEPS)
@settings(max_examples=40)
def test_nothing_scores_without_two_people_and_its_gates(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]]
) -> None:
    store = ModelStore(tmp_path_factory.mktemp("models"))
    register = PromotionRegister(store, lambda: NOW)
    for gates in (PASSED, PASSED, FAILED):
        save(store, gates)
    for act, who, number in steps:
        try:
            if act == "promote":
                register.promote(TASK, number, who, "Good.")
            elif act == "roll_back":
                register.roll_back(TASK, who, "Bad.")
            else:
                register.set_shadow(TASK, number if act == "shadow" else None, who, "To see.")
        except EhrError:
            continue
        champion = register.find_champion(TASK)
        assert champion in (None, 1, 2)
        made = [one for one in register.list_decisions(TASK) if one.number == champion]
        people = {one.who for one in made if one.action in (Action.PROPOSE, Action.PROMOTE)}
        assert champion is None or people == {"ng", "tse"}
        assert register.find_shadow(TASK) != champion or champion is None


class Ended(BaseException):
    """The process ended."""


_STEPS = ("open_next_key", "sign_version", "replace_key", "drop_foreign_signatures")


def list_loading(store: ModelStore) -> list[int]:
    """Return the versions that load."""
    loading = []
    for number in store.list_versions(TASK):
        with suppress(Fault):
            store.read_version(TASK, number)
            loading.append(number)
    return loading


def test_a_new_key_signs_and_a_kill_at_any_step_leaves_every_version_as_it_loads(
    store: ModelStore, register: PromotionRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        save(store)
    promote(register, 2)
    damaged = store.folder / TASK / "versions" / "3" / "model.json"
    damaged.write_bytes(b"{ }")
    key = tmp_key(store)
    before = key.read_bytes()
    # Three versions, one of them damaged: the others are signed, and all are looked through.
    steps = 0
    for limit in range(20):
        done = 0

        def count(name: str, limit: int = limit) -> Any:
            own = getattr(ModelStore, name)

            def step(*values: Any) -> Any:
                nonlocal done
                if done == limit:
                    raise Ended
                done += 1
                return own(*values)

            return step

        with monkeypatch.context() as patched:
            for name in _STEPS:
                patched.setattr(ModelStore, name, count(name))
            try:
                rotated = register.rotate_key("ng", "Half a year.")
            except Ended:
                assert list_loading(store) == [1, 2]
                assert register.get_champion(TASK).number == 2
                continue
        steps = limit
        break

    assert steps == 1 + 2 + 1 + 3
    assert (rotated.signed, rotated.refused) == (2, ((TASK, 3),))
    assert key.read_bytes() != before and key.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in key.parent.iterdir()) == ["model.key"]
    assert len((store.folder / TASK / "versions" / "1" / "manifest.sig").read_text().split()) == 1
    assert register.get_champion(TASK).number == 2
    signed = [one for one in register.list_decisions(TASK) if one.action is Action.SIGN]
    assert {(one.number, one.who) for one in signed} == {(1, "ng"), (2, "ng")}
    # The old key signs nothing any more.
    key.write_bytes(before)
    assert list_loading(store) == []


def tmp_key(store: ModelStore) -> Path:
    return store.data / "keys" / "model.key"


def test_what_a_key_signed_that_became_known_loads_only_once_a_person_signed_it(
    store: ModelStore, register: PromotionRegister
) -> None:
    for _ in range(2):
        save(store)
    promote(register, 1)
    state = store.read_fingerprint(TASK, 1)

    rotated = register.rotate_key("ng", "A backup was stolen.", at_once=True)

    assert (rotated.signed, rotated.refused) == (0, ((TASK, 1), (TASK, 2)))
    withdrawn = [one for one in register.list_decisions(TASK) if one.action is Action.WITHDRAW]
    assert [(one.number, one.who, one.reason) for one in withdrawn] == [
        (1, "ng", "A backup was stolen."), (2, "ng", "A backup was stolen."),
    ]  # fmt: skip
    # A server that has read the version asks anew.
    assert store.read_fingerprint(TASK, 1) != state
    with pytest.raises(Fault, match="not signed by us"):
        register.get_champion(TASK)
    made = register.sign(TASK, 1, "tse", "Compared with the backup of May.")
    assert (made.action, made.who, made.digest) == (
        Action.SIGN, "tse", store.read_version(TASK, 1).digest,
    )  # fmt: skip
    assert register.get_champion(TASK).number == 1
    # Of a version whose files are not those of its manifest nobody signs.
    (store.folder / TASK / "versions" / "2" / "model.json").write_bytes(b"{ }")
    with pytest.raises(Fault, match="were changed"):
        register.sign(TASK, 2, "tse", "Compared.")
    with pytest.raises(Invalid, match="reason"):
        register.rotate_key("ng", " ", at_once=True)


def test_an_old_key_that_a_restore_brings_back_makes_nothing_score(
    store: ModelStore, register: PromotionRegister, tmp_path: Path
) -> None:
    save(store)
    promote(register, 1)
    versions, backup = store.folder / TASK / "versions", tmp_path / "backup"
    key = tmp_key(store).read_bytes()
    shutil.copytree(versions, backup)
    register.rotate_key("ng", "A backup was stolen.", at_once=True)

    tmp_key(store).write_bytes(key)
    shutil.rmtree(versions)
    shutil.copytree(backup, versions)

    with pytest.raises(Fault, match="withdrawn"):
        register.get_champion(TASK)
    # Nor does a change that is not meant so sign it.
    register.rotate_key("ng", "Half a year.")
    with pytest.raises(Fault):
        register.get_champion(TASK)
    register.sign(TASK, 1, "tse", "Compared with the backup of May.")
    assert register.get_champion(TASK).number == 1


def test_a_change_at_once_takes_over_no_key_and_no_signature_of_one_that_was_killed(
    store: ModelStore, register: PromotionRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store)
    promote(register, 1)

    def end(_: ModelStore) -> None:
        raise Ended

    with monkeypatch.context() as patched:
        patched.setattr(ModelStore, "replace_key", end)
        with pytest.raises(Ended):
            register.rotate_key("ng", "Half a year.")
    # It lay beside the other, so it is known as well.
    known = (store.data / "keys" / "model-next.key").read_bytes()

    rotated = register.rotate_key("ng", "A backup was stolen.", at_once=True)

    assert rotated.refused == ((TASK, 1),)
    assert tmp_key(store).read_bytes() != known
    with pytest.raises(Fault, match="not signed by us"):
        register.get_champion(TASK)


def test_whoever_has_the_old_key_makes_no_version_of_other_files_score(
    store: ModelStore, register: PromotionRegister, tmp_path: Path
) -> None:
    save(store)
    promote(register, 1)
    forged = tmp_path / "forged"
    shutil.copytree(store.data / "keys", forged / "keys")
    other = ModelStore(forged)
    other.save_version(TASK, {**store.read_version(TASK, 1).files, "model.json": b"[]"}, NOW)
    register.rotate_key("ng", "A backup was stolen.", at_once=True)
    versions = store.folder / TASK / "versions"
    shutil.rmtree(versions / "1")
    shutil.copytree(other.folder / TASK / "versions" / "1", versions / "1")

    with pytest.raises(Fault, match="not signed by us"):
        register.get_champion(TASK)
    # Signed by somebody who did not look: other files were promoted.
    register.sign(TASK, 1, "tse", "Not compared.")
    with pytest.raises(Fault, match="other files"):
        register.get_champion(TASK)
