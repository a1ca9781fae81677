"""The airlock: results of a run are controlled, checked, decided on by two people, then released.

Raw counts stay in <data>/research/runs/<run>/raw. What may leave is made from them in .../outputs
by the study's disclosure policy; automatic checks read it; two different checkers, who did not
run it and are not of the project, approve; only then is it copied to <data>/research/released.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ehr_analytics import project as projects
from ehr_analytics.bar_chart import draw_bar_chart
from ehr_analytics.disclosure_control import ControlledTable, CountTable, control_table
from ehr_analytics.output_checks import HIDDEN, CheckResult, check_outputs
from ehr_analytics.register import Register
from ehr_analytics.study import Measure, Study, people_column, read_stored_study
from ehr_analytics.study_run import Run, get_run, run_folder
from ehr_fhir.errors import Conflict, Forbidden, Unprocessable

APPROVALS_NEEDED = 2

_POLICY_NOTES = {
    "opensafely-7-5": "up to 7 hidden or left out, others to the nearest 5",
    "midpoint-6": "each count is the middle of its six",
    "acro-10": "below 10 hidden or left out",
}


@dataclass(frozen=True)
class Decision:
    """A checker's verdict, with the reason."""

    person: str
    verdict: str
    reason: str
    at: str


@dataclass(frozen=True)
class Proposal:
    """A run in the airlock: its state, what the checks said, who decided what."""

    run: Run
    checks: tuple[CheckResult, ...]
    decisions: tuple[Decision, ...]

    @property
    def passed(self) -> bool:
        """Say whether every automatic check passed."""
        return all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Release:
    """What was released: the folder, its files, and how many cells were hidden."""

    run: str
    folder: Path
    files: tuple[str, ...]
    cells: int
    cells_hidden: int


def propose_outputs(register: Register, run_id: str, login: str) -> Proposal:
    """Apply the disclosure policy, write tables and plots, check them, propose them for release."""
    run = get_run(register, run_id)
    if run.state not in {"done", "failed"}:
        raise Conflict(f"The run is {run.state} already.")
    folder = run_folder(register, run_id)
    study = read_stored_study(folder)
    outputs = folder / "outputs"
    shutil.rmtree(outputs, ignore_errors=True)
    outputs.mkdir(mode=0o700)
    controls = {}
    for measure in study.measures:
        controlled = _control_measure(folder, study, measure)
        names = _write_outputs(outputs, study, measure, controlled)
        controls.update({name: dict(controlled.record) for name in names})
    checks = check_outputs(outputs, study.policy, study.count_columns())
    _write_json(folder / "controls.json", controls)
    _write_json(folder / "checks.json", [asdict(check) for check in checks])

    state = "proposed" if all(check.passed for check in checks) else "failed"
    digests = _hash_files(outputs)
    with register.transaction() as connection:
        connection.execute(
            "UPDATE run SET state = ?, outputs = ? WHERE id = ?",
            (state, json.dumps(digests), run_id),
        )
        register.append_event(
            connection, run.project, login, "propose", run=run_id, before=run.state, after=state
        )
    return get_proposal(register, run_id)


def get_proposal(register: Register, run_id: str) -> Proposal:
    """Return a run's state, checks and decisions."""
    run = get_run(register, run_id)
    path = run_folder(register, run_id) / "checks.json"
    checks = json.loads(path.read_text("utf-8")) if path.exists() else []
    with register.transaction() as connection:
        decisions = _read_decisions(connection, run_id)
    return Proposal(run, tuple(CheckResult(**check) for check in checks), decisions)


def record_decision(
    register: Register, run_id: str, login: str, verdict: str, reason: str
) -> Proposal:
    """Approve or reject a proposed run, with the reason."""
    run = get_run(register, run_id)
    project = projects.get_project(register, run.project)
    if verdict not in {"approve", "reject"}:
        raise Unprocessable("A verdict is approve or reject.")
    if not reason.strip():
        raise Unprocessable("Say why: the researcher reads the reason.")
    if login == run.who or login == project.applicant or login in project.people:
        raise Forbidden("Nobody checks the outputs of a project of their own.")
    with register.transaction() as connection:
        state = _read_state(connection, run_id)
        if state != "proposed":
            raise Conflict(f"The run is {state}; only a run whose checks all passed is decided on.")
        if any(decision.person == login for decision in _read_decisions(connection, run_id)):
            raise Forbidden("You have decided on this run: a different person gives the second.")
        connection.execute(
            "INSERT INTO decision VALUES (?, ?, ?, ?, ?)",
            (run_id, login, verdict, reason, register.timestamp()),
        )
        after = "rejected" if verdict == "reject" else "proposed"
        connection.execute("UPDATE run SET state = ? WHERE id = ?", (after, run_id))
        register.append_event(
            connection, run.project, login, verdict, run=run_id, before=state, after=after,
            detail={"reason": reason},
        )  # fmt: skip
    return get_proposal(register, run_id)


def release_outputs(register: Register, run_id: str, login: str) -> Release:
    """Release an approved run's outputs, with the record of the controls on each file."""
    run = get_run(register, run_id)
    folder = run_folder(register, run_id)
    target = register.folder / "released" / run.project / run_id
    with register.transaction() as connection:
        state = _read_state(connection, run_id)
        decisions = _read_decisions(connection, run_id)
        approvers = {decision.person for decision in decisions if decision.verdict == "approve"}
        if state != "proposed" or len(approvers) < APPROVALS_NEEDED:
            raise Conflict(
                f"The run is {state} with {len(approvers)} approvals; "
                f"{APPROVALS_NEEDED} different checkers approve before anything leaves."
            )
        row = connection.execute("SELECT outputs FROM run WHERE id = ?", (run_id,)).fetchone()
        approved: Mapping[str, str] = json.loads(row["outputs"])
        files = _copy_approved_files(folder / "outputs", target, approved)
        controls = json.loads((folder / "controls.json").read_text("utf-8"))
        _write_json(
            target / "controls.json",
            {
                "project": run.project,
                "run": run.id,
                "study": run.study,
                "run_by": run.who,
                "run_at": run.at,
                "code": {"version": run.version, "sha256": run.code},
                "tables": dict(run.tables),
                "files": [
                    {"file": name, "sha256": approved[name], "controls": controls[name]}
                    for name in files
                ],
                "checks": json.loads((folder / "checks.json").read_text("utf-8")),
                "checkers": [asdict(decision) for decision in decisions],
                "released_by": login,
                "released_at": register.timestamp(),
            },
        )
        connection.execute("UPDATE run SET state = 'released' WHERE id = ?", (run_id,))
        register.append_event(
            connection, run.project, login, "release", run=run_id, before=state, after="released",
            detail={"files": approved},
        )  # fmt: skip
    tables = [controls[name] for name in files if name.endswith(".csv")]
    return Release(
        run=run_id,
        folder=target,
        files=(*files, "controls.json"),
        cells=sum(table["cells"] for table in tables),
        cells_hidden=sum(table["cells_hidden"] for table in tables),
    )


def _control_measure(folder: Path, study: Study, measure: Measure) -> ControlledTable:
    with (folder / "raw" / f"{measure.name}.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    counts = study.count_columns()
    table = CountTable(
        measure.by,
        counts,
        tuple(
            (tuple(row[by] for by in measure.by), tuple(int(row[count]) for count in counts))
            for row in rows
        ),
    )
    people_behind = {study.unit: "people"}
    people_behind |= {outcome: people_column(outcome) for outcome, _ in study.outcomes}
    return control_table(study.policy, table, people_behind)


def _write_outputs(
    outputs: Path, study: Study, measure: Measure, controlled: ControlledTable
) -> list[str]:
    table = controlled.table
    with (outputs / f"{measure.name}.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow([*table.strata, *table.counts])
        for strata, cells in table.rows:
            writer.writerow([*strata, *(HIDDEN if cell is None else cell for cell in cells)])
    if not table.rows:
        return [f"{measure.name}.csv"]
    shown = ("people", study.unit, *(outcome for outcome, _ in study.outcomes))
    effect = _POLICY_NOTES.get(study.policy, "see controls.json")
    note = f"Disclosure control: {study.policy} ({effect})."
    draw_bar_chart(table, shown, measure.title, note, outputs / f"{measure.name}.png")
    return [f"{measure.name}.csv", f"{measure.name}.png"]


def _copy_approved_files(outputs: Path, target: Path, approved: Mapping[str, str]) -> list[str]:
    if _hash_files(outputs) != approved:
        raise Conflict("The outputs are not the ones that were checked: propose the run again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when whole: a reader never sees half a release.
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        scratch_target = Path(scratch) / "half"
        shutil.copytree(outputs, scratch_target)
        shutil.rmtree(target, ignore_errors=True)
        scratch_target.rename(target)
    return sorted(approved)


def _hash_files(outputs: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(outputs.iterdir())
    }


def _read_state(connection: sqlite3.Connection, run_id: str) -> str:
    row = connection.execute("SELECT state FROM run WHERE id = ?", (run_id,)).fetchone()
    return str(row["state"])


def _read_decisions(connection: sqlite3.Connection, run_id: str) -> tuple[Decision, ...]:
    rows = connection.execute(
        "SELECT person, verdict, reason, at FROM decision WHERE run = ? ORDER BY at, rowid",
        (run_id,),
    )
    return tuple(Decision(*row) for row in rows)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), "utf-8")
