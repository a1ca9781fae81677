"""The airlock: results of a run are controlled, checked, decided on by two people, then released.

Raw results stay in <data>/research/runs/<run>. What may leave is made from them in .../outputs by
the project's disclosure policy; automatic checks read it; two different checkers, who did not
run it and are not of the project, approve; only then is it copied to <data>/research/released.

Results of the platform's own analyses are typed cells, which know their persons. Those of a study's
own SQL or code are unsafe output: nobody but the study says whom a number is about, so its checkers
say that they judged that too.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ehr_analytics import project as projects
from ehr_analytics.analyses.charts import draw_tables
from ehr_analytics.bar_chart import draw_bar_chart
from ehr_analytics.code_run import CODE_FILE
from ehr_analytics.disclosure.cell_files import CELLS_FILE, read_cells
from ehr_analytics.disclosure.cell_tables import describe_evidence, write_tables
from ehr_analytics.disclosure.cells import list_persons
from ehr_analytics.disclosure.control import ControlledRelease, control_release
from ehr_analytics.disclosure.lake_persons import find_lake_pseudonyms
from ehr_analytics.disclosure.release_history import ReleaseHistory, lock_releases
from ehr_analytics.disclosure_control import ControlledTable, CountTable, control_table
from ehr_analytics.output_checks import (
    HIDDEN,
    CheckResult,
    check_outputs,
    describe_own_table,
)
from ehr_analytics.project import Project
from ehr_analytics.register import Register
from ehr_analytics.release_crate import CRATE_FILE, build_crate
from ehr_analytics.researchers import require_trained
from ehr_analytics.run_log import Run, get_run, read_study_file, run_folder
from ehr_analytics.study import Measure, Study, people_column, read_stored_study
from ehr_fhir.errors import Conflict, Forbidden, Unprocessable
from ehr_privacy.audit import digest_json
from ehr_privacy.disclosure import POLICIES

APPROVALS_NEEDED = 2
CONTROLS_FILE = "controls.json"

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
    # Made by SQL or code of the study's own, which says itself whom a number is about.
    is_unsafe: bool = False

    @property
    def passed(self) -> bool:
        """Say whether every automatic check passed."""
        return all(check.passed for check in self.checks)

    @property
    def is_approved(self) -> bool:
        """Say whether as many different checkers approved as it takes."""
        approvers = {each.person for each in self.decisions if each.verdict == "approve"}
        return len(approvers) >= APPROVALS_NEEDED


@dataclass(frozen=True)
class Release:
    """What was released: the folder, its files, and how many cells were hidden."""

    run: str
    folder: Path
    files: tuple[str, ...]
    cells: int
    cells_hidden: int


def propose_outputs(register: Register, run_id: str, login: str, note: str = "") -> Proposal:
    """Apply the disclosure policy, write tables and plots, check them, propose them for release.

    The note says to the checkers what the tables are for.
    """
    with lock_releases(register):
        return _propose_outputs(register, run_id, login, note)


def _propose_outputs(register: Register, run_id: str, login: str, note: str) -> Proposal:
    run = get_run(register, run_id)
    if run.state not in {"done", "failed"}:
        raise Conflict(f"The run is {run.state} already.")
    project = projects.get_project(register, run.project)
    projects.require_may_release(project)
    if projects.is_of_project(project, {login}):
        require_trained(register, {login})
    folder = run_folder(register, run_id)
    outputs = folder / "outputs"
    shutil.rmtree(outputs, ignore_errors=True)
    outputs.mkdir(mode=0o700)
    if (folder / CELLS_FILE).exists():
        checks = _make_cell_outputs(register, run, project, folder)
    elif (folder / CODE_FILE).exists():
        checks = _make_code_outputs(project, folder)
    else:
        checks = _make_unsafe_outputs(project, folder)
    _write_json(folder / "checks.json", [asdict(check) for check in checks])

    state = "proposed" if all(check.passed for check in checks) else "failed"
    digests = _hash_files(outputs)
    with register.transaction() as connection:
        # Anew: it may have been suspended or closed while the outputs were made and checked.
        projects.require_may_release(projects.read_project(connection, run.project))
        connection.execute(
            "UPDATE run SET state = ?, outputs = ? WHERE id = ?",
            (state, json.dumps(digests), run_id),
        )
        register.append_event(
            connection, run.project, login, "propose", run=run_id, before=run.state, after=state,
            detail={
                "files": digests,
                "checks": digest_json([asdict(check) for check in checks]),
                "policy": project.policy,
                **({"note": note} if note else {}),
            },
        )  # fmt: skip
    return get_proposal(register, run_id)


def get_proposal(register: Register, run_id: str) -> Proposal:
    """Return a run's state, checks and decisions."""
    run = get_run(register, run_id)
    path = run_folder(register, run_id) / "checks.json"
    checks = json.loads(path.read_text("utf-8")) if path.exists() else []
    with register.transaction() as connection:
        decisions = _read_decisions(connection, run_id)
    is_unsafe = not (run_folder(register, run_id) / CELLS_FILE).exists()
    return Proposal(run, tuple(CheckResult(**check) for check in checks), decisions, is_unsafe)


def read_evidence(register: Register, run_id: str) -> list[dict[str, object]]:
    """Return what a checker sees beside the outputs: persons per cell, and the rule that hid it."""
    path = run_folder(register, get_run(register, run_id).id) / "evidence.json"
    if not path.exists():
        raise Conflict("The run was not proposed yet: run `ehr research airlock check`.")
    evidence: list[dict[str, object]] = json.loads(path.read_text("utf-8"))
    return evidence


def record_decision(
    register: Register,
    run_id: str,
    login: str,
    verdict: str,
    reason: str,
    *,
    is_unsafe: bool = False,
    other_names: Collection[str] = (),
    digest: str | None = None,
) -> Proposal:
    """Approve or reject a proposed run, with the reason.

    `digest` is that of the files that were read (`digest_outputs`): Conflict when they are others.

    Who approves unsafe output says by `is_unsafe` that they judged whom its numbers are about.
    `other_names` are names of further accounts of the same person: two accounts are one checker.
    """
    names = {login, *other_names}
    run = get_run(register, run_id)
    project = projects.get_project(register, run.project)
    if verdict not in {"approve", "reject"}:
        raise Unprocessable("A verdict is approve or reject.")
    if not reason.strip():
        raise Unprocessable("Say why: the researcher reads the reason.")
    require_checker_of_others(run, project, names)
    if verdict == "approve" and not is_unsafe and get_proposal(register, run_id).is_unsafe:
        raise Unprocessable(
            "This is unsafe output: SQL or code of the study's own says whom each number is about. "
            "Read the evidence, and approve it as unsafe output."
        )
    with register.transaction() as connection:
        project = projects.read_project(connection, run.project)
        projects.require_not_suspended(project)
        if verdict == "approve":
            projects.require_may_release(project)
        state = _read_state(connection, run_id)
        if state != "proposed":
            raise Conflict(f"The run is {state}; only a run whose checks all passed is decided on.")
        if digest is not None and digest != _digest_outputs(connection, run_id):
            raise Conflict("The run was proposed anew: its files are others than you read.")
        if any(decision.person in names for decision in _read_decisions(connection, run_id)):
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
        if after == "rejected":
            _remove_unreleased_files(register, run)
    return get_proposal(register, run_id)


def digest_outputs(register: Register, run_id: str) -> str:
    """Return a digest of what a checker approves: the proposed files and their contents."""
    with register.transaction() as connection:
        return _digest_outputs(connection, run_id)


def _digest_outputs(connection: sqlite3.Connection, run_id: str) -> str:
    row = connection.execute("SELECT outputs FROM run WHERE id = ?", (run_id,)).fetchone()
    return digest_json(json.loads(row["outputs"] or "{}"))


def lapse_proposal(register: Register, run_id: str, login: str) -> None:
    """Let the approvals of a proposed run lapse: it is proposed again before anything leaves."""
    run = get_run(register, run_id)
    with register.transaction() as connection:
        state = _read_state(connection, run_id)
        if state != "proposed":
            return
        connection.execute("DELETE FROM decision WHERE run = ?", (run_id,))
        connection.execute("UPDATE run SET state = 'failed' WHERE id = ?", (run_id,))
        register.append_event(
            connection, run.project, login, "lapse", run=run_id, before=state, after="failed"
        )
        _remove_unreleased_files(register, run)


def release_outputs(
    register: Register, run_id: str, login: str, *, other_names: Collection[str] = ()
) -> Release:
    """Release an approved run's outputs, with the record of the controls on each file."""
    run = get_run(register, run_id)
    project = projects.get_project(register, run.project)
    require_checker_of_others(run, project, {login, *other_names})
    with lock_releases(register):
        # Behind the lock: it may have been suspended or closed while another release was checked.
        project = projects.get_project(register, run.project)
        projects.require_may_release(project)
        return _release_outputs(register, project, run_id, login)


def _release_outputs(register: Register, project: Project, run_id: str, login: str) -> Release:
    run = get_run(register, run_id)
    folder = run_folder(register, run_id)
    target = register.folder / "released" / run.project / run_id
    proposal = get_proposal(register, run_id)
    is_decided = proposal.run.state == "proposed" and proposal.is_approved
    if is_decided and not proposal.is_unsafe:
        # Before the files: what left without having been kept could never be compared.
        _keep_for_comparison(register, run, folder)
    persons, _ = ReleaseHistory(register).digest_persons(run_id)
    with register.transaction() as connection:
        # Anew: it may have been suspended or closed while the cells were compared.
        projects.require_may_release(projects.read_project(connection, run.project))
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
        half = _copy_approved_files(folder / "outputs", target, approved)
        files = sorted(approved)
        controls = json.loads((folder / "controls.json").read_text("utf-8"))
        title, study_file = read_study_file(folder)
        record: dict[str, object] = {
            "project": run.project,
            "run": run.id,
            "study": run.study,
            "study_title": title,
            "study_sha256": study_file,
            "run_by": run.who,
            "run_at": run.at,
            "code": {"version": run.version, "sha256": run.code},
            "tables": dict(run.tables),
            "unsafe_output": proposal.is_unsafe,
            "files": [
                {"file": name, "sha256": approved[name], "controls": controls[name]}
                for name in files
            ],
            "checks": json.loads((folder / "checks.json").read_text("utf-8")),
            "checkers": [asdict(decision) for decision in decisions],
            "released_by": login,
            "released_at": register.timestamp(),
        }
        _write_json(half / CONTROLS_FILE, record)
        _write_crate(half, project, record)
        own_files = {name: _hash_file(half / name) for name in (CONTROLS_FILE, CRATE_FILE)}
        connection.execute("UPDATE run SET state = 'released' WHERE id = ?", (run_id,))
        register.append_event(
            connection, run.project, login, "release", run=run_id, before=state, after="released",
            detail={
                "files": approved, "records": own_files,
                **({"persons": persons} if persons else {}),
            },
        )  # fmt: skip
        # Last, and renamed when whole: neither a reader nor a kill sees half a release.
        shutil.rmtree(target, ignore_errors=True)
        half.rename(target)
    tables = [controls[name] for name in files if name.endswith(".csv")]
    return Release(
        run=run_id,
        folder=target,
        files=(*files, CONTROLS_FILE, CRATE_FILE),
        cells=sum(table["cells"] for table in tables),
        cells_hidden=sum(table["cells_hidden"] for table in tables),
    )


def require_checker_of_others(run: Run, project: Project, names: Collection[str]) -> None:
    """Forbid that somebody checks what they ran, or what their project made."""
    if run.who in names or projects.is_of_project(project, names):
        raise Forbidden("Nobody checks the outputs of a project of their own.")


def _make_cell_outputs(
    register: Register, run: Run, project: Project, folder: Path
) -> tuple[CheckResult, ...]:
    """Write the tables of typed cells under control; return what the checks say."""
    release, _ = _control_cells(register, run, project, folder)
    tables = write_tables(folder / "outputs", release.cells)
    record = {**release.record, "unsafe_output": False}
    controls = {
        table.name: {**record, "cells": table.cells, "cells_hidden": table.cells_hidden}
        for table in tables
    }
    note = f"Disclosure control: {project.policy}; what is hidden says so."
    plots = draw_tables(folder / "outputs", release.cells, note)
    controls |= {name: controls[f"{Path(name).stem}.csv"] for name in plots}
    _write_json(folder / "controls.json", controls)
    _write_json(folder / "evidence.json", describe_evidence(release.cells))
    _write_json(folder / "shown.json", [cell.shown for cell in release.cells])
    checks: list[CheckResult] = []
    for table in tables:
        own = check_outputs(folder / "outputs", project.policy, table.counts, table.numbers)
        plot = Path(table.name).with_suffix(".png").name
        checks += [check for check in own if check.file in (table.name, plot)]
    if not tables:
        checks += check_outputs(folder / "outputs", project.policy, ())
    reason = (
        f"the overlaps of {release.unexamined} cells are too many to examine: "
        "release fewer tables at once"
        if release.unexamined
        else f"{release.unprotected} small quantities can be worked out from earlier releases"
    )
    checks.append(
        CheckResult(
            "linear programs", run.id, release.is_protected,
            "no reader can work out a hidden cell" if release.is_protected else reason,
        )
    )  # fmt: skip
    return tuple(checks)


def _control_cells(
    register: Register, run: Run, project: Project, folder: Path
) -> tuple[ControlledRelease, Mapping[str, int]]:
    """Return the cells under control, and the platform's numbers of their persons."""
    cells = read_cells(folder)
    key = projects.read_project_key(register.data, project.id)
    persons = list_persons(cells)
    in_lake = find_lake_pseudonyms(register.data, key, persons)
    history = ReleaseHistory(register)
    numbered = history.number_persons([in_lake[person] for person in persons])
    numbers = dict(zip(persons, numbered.tolist(), strict=True))
    earlier = [cell for cell in history.read() if cell.release != run.id]
    release = control_release(
        cells,
        POLICIES[project.policy],
        earlier,
        lambda names: np.array([numbers[name] for name in names], np.uint32),
    )
    return release, numbers


def _keep_for_comparison(register: Register, run: Run, folder: Path) -> None:
    """Keep whom the cells are about; Conflict where another release made more of them unsafe."""
    project = projects.get_project(register, run.project)
    release, numbers = _control_cells(register, run, project, folder)
    shown = json.loads((folder / "shown.json").read_text("utf-8"))
    if [cell.shown for cell in release.cells] != shown:
        raise Conflict("Something else was released since the check: propose the run again.")
    ReleaseHistory(register).add(run.id, release.cells, numbers, project.policy)


def _make_unsafe_outputs(project: Project, folder: Path) -> tuple[CheckResult, ...]:
    """Write the tables and plots of a study's own SQL under control; return what the checks say."""
    study = read_stored_study(folder)
    controls, evidence = {}, []
    for measure in study.measures:
        table = _read_counts(folder, study, measure)
        controlled = _control_measure(project.policy, study, table)
        names = _write_outputs(folder / "outputs", project.policy, study, measure, controlled)
        record = {**controlled.record, "unsafe_output": True}
        controls.update({name: record for name in names})
        evidence += _describe_rows(measure, table, controlled)
    _write_json(folder / "controls.json", controls)
    _write_json(folder / "evidence.json", evidence)
    return check_outputs(folder / "outputs", project.policy, study.count_columns())


def _make_code_outputs(project: Project, folder: Path) -> tuple[CheckResult, ...]:
    """Copy what own code wrote; return what the checks say, which cannot know what a number is."""
    controls, evidence = {}, []
    for path in sorted((folder / "raw").iterdir()):
        shutil.copyfile(path, folder / "outputs" / path.name)
        controls[path.name] = {
            "policy": project.policy, "applied": False, "unsafe_output": True,
            "cells": 0, "cells_hidden": 0,
        }  # fmt: skip
        if path.suffix == ".csv":
            evidence += describe_own_table(path, POLICIES[project.policy].min_persons)
    _write_json(folder / "controls.json", controls)
    _write_json(folder / "evidence.json", evidence)
    return check_outputs(folder / "outputs", project.policy, None)


def _describe_rows(
    measure: Measure, table: CountTable, controlled: ControlledTable
) -> list[dict[str, object]]:
    shown = dict(controlled.table.rows)
    return [
        {
            "table": measure.name,
            "labels": dict(zip(table.strata, strata, strict=True)),
            "statistic": "frequency",
            "unit": unit,
            # As the study's SQL counts them: the platform does not know.
            "rows": count,
            "shown": shown[strata][place] if strata in shown else None,
            "hidden_by": None if strata in shown and shown[strata][place] is not None
            else "threshold",
        }
        for strata, counts in table.rows
        for place, (unit, count) in enumerate(zip(table.counts, counts, strict=True))
    ]  # fmt: skip


def _read_counts(folder: Path, study: Study, measure: Measure) -> CountTable:
    with (folder / "raw" / f"{measure.name}.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    counts = study.count_columns()
    return CountTable(
        measure.by,
        counts,
        tuple(
            (tuple(row[by] for by in measure.by), tuple(int(row[count]) for count in counts))
            for row in rows
        ),
    )


def _control_measure(policy: str, study: Study, table: CountTable) -> ControlledTable:
    people_behind = {study.unit: "people"}
    people_behind |= {outcome: people_column(outcome) for outcome, _ in study.outcomes}
    return control_table(policy, table, people_behind)


def _write_outputs(
    outputs: Path, policy: str, study: Study, measure: Measure, controlled: ControlledTable
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
    effect = _POLICY_NOTES.get(policy, "see controls.json")
    note = f"Disclosure control: {policy} ({effect})."
    draw_bar_chart(table, shown, measure.title, note, outputs / f"{measure.name}.png")
    return [f"{measure.name}.csv", f"{measure.name}.png"]


def _copy_approved_files(outputs: Path, target: Path, approved: Mapping[str, str]) -> Path:
    """Copy the files beside their target; return the folder.

    Conflict where they are not those that were checked.
    """
    half = _half_folder(target)
    # Of a release that was killed.
    shutil.rmtree(half, ignore_errors=True)
    half.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(outputs, half)
    # The copies, which are what leaves: the files could change while they are copied.
    if _hash_files(half) != approved:
        shutil.rmtree(half)
        raise Conflict("The outputs are not the ones that were checked: propose the run again.")
    return half


def _half_folder(target: Path) -> Path:
    return target.with_name(f".{target.name}.half")


def _remove_unreleased_files(register: Register, run: Run) -> None:
    """Remove what a killed release left of a run that is not released after all."""
    target = register.folder / "released" / run.project / run.id
    for folder in (target, _half_folder(target)):
        shutil.rmtree(folder, ignore_errors=True)


def _write_crate(target: Path, project: Project, record: Mapping[str, object]) -> None:
    """Describe the files of a release, `controls.json` among them, as an RO-Crate."""
    sizes = {path.name: path.stat().st_size for path in sorted(target.iterdir())}
    sizes.pop(CRATE_FILE, None)
    _write_json(target / CRATE_FILE, build_crate(project, record, sizes))


def _hash_files(outputs: Path) -> dict[str, str]:
    return {path.name: _hash_file(path) for path in sorted(outputs.iterdir())}


def _hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
