"""Releases and runs that are killed in the middle; projects that stop in the middle of a step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ehr_analytics import airlock, run_queue
from ehr_analytics import project as projects
from ehr_analytics.disclosure.release_history import ReleaseHistory
from ehr_analytics.output_checks import check_outputs
from ehr_analytics.people import Person
from ehr_analytics.register import Register
from ehr_analytics.sandbox import process as sandbox
from ehr_analytics.suspension import suspend_project
from ehr_fhir.errors import Conflict
from tests.conftest import ROOT
from tests.lib.released_cells import count_persons, store_run, write_persons
from tests.lib.research import open_project, register

PROJECT = "acute-returns"
CHECKERS = ("steward.ng", "auditor.tse")


@pytest.fixture
def book(tmp_path: Path) -> Register:
    """Return a register with an open project and a run that both checkers approved."""
    persons = write_persons(tmp_path, 120)
    made = register(tmp_path)
    open_project(made)
    store_run(
        made, "run-1", [count_persons(made, PROJECT, persons[:60])], PROJECT, "researcher.lau"
    )
    assert airlock.propose_outputs(made, "run-1", "researcher.lau").passed
    for checker in CHECKERS:
        airlock.record_decision(made, "run-1", checker, "approve", "fine")
    return made


# Where a release is killed: the step that does not come to its end.
_KILL = """
import os, signal, sys
from pathlib import Path
from ehr_analytics import airlock
from ehr_analytics.disclosure.release_history import ReleaseHistory
from ehr_analytics.register import Register

def kill(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def rename_and_kill(self, target, rename=Path.rename):
    rename(self, target)
    kill()

place, data = sys.argv[1:]
owner, name, act = {
    "compared": (ReleaseHistory, "digest_persons", kill),
    "copied": (airlock, "build_crate", kill),
    "on record": (Path, "rename", kill),
    "named": (Path, "rename", rename_and_kill),
}[place]
setattr(owner, name, act)
airlock.release_outputs(Register(Path(data)), "run-1", "steward.ng")
"""


@pytest.mark.parametrize("place", ["compared", "copied", "on record", "named"])
def test_a_killed_release_is_whole_or_absent_and_goes_on(book: Register, place: str) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILL, place, str(book.data)], cwd=ROOT)

    assert killed.returncode == -signal.SIGKILL
    target = book.folder / "released" / PROJECT / "run-1"
    whole = {"all.csv", "controls.json", "ro-crate-metadata.json"}
    left = {path.name for path in target.iterdir()} if target.exists() else set()
    assert whole <= left if place == "named" else not left
    # It never left by the record, whatever files there are: nobody fetches them.
    assert airlock.get_proposal(book, "run-1").run.state == "proposed"

    released = airlock.release_outputs(book, "run-1", "steward.ng")

    assert whole <= set(released.files) == {path.name for path in target.iterdir()}
    assert [event.action for event in book.events(PROJECT, "run-1")].count("release") == 1
    assert not list(target.parent.glob(".*"))


def test_a_project_suspended_while_cells_are_compared_releases_nothing(
    book: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = ReleaseHistory.add

    def keep_and_suspend(self: ReleaseHistory, *args: object) -> None:
        keep(self, *args)  # type: ignore[arg-type]  # whatever it is called with
        suspend_project(book, PROJECT, "steward.ho", "A question about its purpose.")

    monkeypatch.setattr(ReleaseHistory, "add", keep_and_suspend)

    with pytest.raises(Conflict, match="suspended"):
        airlock.release_outputs(book, "run-1", "steward.ng")

    assert not (book.folder / "released" / PROJECT / "run-1").exists()
    assert book.events(PROJECT, "run-1")[-1].action == "approve"


def test_a_project_closed_while_its_outputs_are_checked_proposes_nothing(
    book: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    airlock.lapse_proposal(book, "run-1", "steward.ng")
    check = check_outputs

    def check_and_close(*args: object) -> object:
        if projects.get_project(book, PROJECT).state == "open":
            projects.close_project(book, PROJECT, "researcher.lau")
        return check(*args)  # type: ignore[arg-type]  # whatever it is called with

    monkeypatch.setattr(airlock, "check_outputs", check_and_close)

    with pytest.raises(Conflict, match="closed"):
        airlock.propose_outputs(book, "run-1", "researcher.lau")

    assert airlock.get_proposal(book, "run-1").run.state == "failed"


_RUN_SANDBOXED = """
from ehr_analytics.sandbox.process import run_sandboxed
run_sandboxed(
    "import os, time; (outputs / 'n.csv').write_text(str(os.getpid())); time.sleep(600)",
    {}, ["n.csv"],
)
"""


def test_code_ends_with_the_process_that_runs_it_and_leaves_nothing_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", _RUN_SANDBOXED],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    wait_until(lambda: any(path.read_text() for path in tmp_path.glob("*/work/n.csv")))
    (written,) = tmp_path.glob("*/work/n.csv")
    code = int(written.read_text())

    worker.kill()
    worker.wait()

    wait_until(lambda: not is_alive(code))
    # What the code wrote may hold rows: the next run takes it away.
    monkeypatch.setattr(sandbox, "_SECONDS_TO_LOCK", 0.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert sandbox.run_sandboxed("pass", {}, []).error == ""
    assert not list(tmp_path.glob("ehr-sandbox-*"))


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    # A zombie of which nobody took notice yet.
    return state != "Z"


def list_runs(book: Register) -> list[run_queue.RequestedRun]:
    """Return the runs of the project, oldest first."""
    run_queue.fail_cut_off(book)
    with book.transaction() as connection:
        rows = connection.execute("SELECT id FROM requested_run ORDER BY seq").fetchall()
    return [run_queue.get_requested_run(book, row["id"]) for row in rows]


_CLAIM = """
import sys, time
from pathlib import Path
from ehr_analytics.register import Register
from ehr_analytics.run_queue import claim_next
claimed = claim_next(Register(Path(sys.argv[1])))
print("claimed", flush=True)
time.sleep(600)
"""


def test_a_run_whose_process_is_killed_says_so_and_the_next_one_goes_on(book: Register) -> None:
    person = Person("researcher.lau", frozenset({"researcher.lau"}))
    first, second = (
        run_queue.request_code_run(book, PROJECT, "pass", ["n.csv"], person) for _ in range(2)
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", _CLAIM, str(book.data)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"claimed\n"
    assert [run.state for run in list_runs(book)] == [
        "running",
        "queued",
    ]

    worker.kill()
    worker.communicate()

    cut_off, waits = list_runs(book)
    assert (cut_off.id, cut_off.state) == (first.id, "failed")
    assert "cut off" in cut_off.fault
    assert book.events(PROJECT, first.id)[-1].after == "failed"
    assert waits.state == "queued"
    claimed = run_queue.claim_next(book)
    assert claimed is not None and claimed[0] == second.id
    claimed[1].close()
