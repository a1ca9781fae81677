"""Requests for release as people and checkers see them: files, checks, rules, questions, decisions.

The steps are the airlock's; a request has the id of its run. Before a release its people see the
names of the files and whether the checks passed. How many cells are hidden, and by which rule, is
the checkers': told for every request, it would say of two cohorts that differ by a person which one
is small.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_analytics import airlock
from ehr_analytics import project as projects
from ehr_analytics.people import Person
from ehr_analytics.project import Project
from ehr_analytics.register import Event, Register
from ehr_analytics.run_log import Run, get_run, run_folder
from ehr_fhir.errors import Conflict, Forbidden, NotFound, Unprocessable

__all__ = [
    "Check",
    "EvidenceCell",
    "ReleaseFile",
    "ReleaseRequest",
    "ReleaseStep",
    "Rule",
    "answer_question",
    "approve_release",
    "ask_question",
    "find_request",
    "find_tables",
    "is_requested",
    "list_evidence",
    "list_requests",
    "read_file",
    "request_release",
    "return_release",
]

# State of a run in the airlock -> of its request.
_STATES = {
    "proposed": "waiting",
    "failed": "refused",
    "rejected": "returned",
    "released": "released",
}
# Step of the airlock -> of a request.
_ACTIONS = {
    "propose": "request",
    "ask": "ask",
    "answer": "answer",
    "approve": "approve",
    "reject": "return",
    "lapse": "lapse",
    "release": "release",
}
MEDIA_TYPES = {".csv": "text/csv; charset=utf-8", ".png": "image/png", ".json": "application/json"}
CONTROLS_FILE = "controls.json"
MEANINGS: Mapping[str, str] = {
    "threshold": "fewer people than the policy shows",
    "zero": "nobody, which tells it of everybody in the group",
    "dominance": "one or two people give most of the sum",
    "p-percent": "one person can tell another's amount too closely",
    "one-sided": "everybody of the group has it, which tells it of each of them",
    "degrees-of-freedom": "a model on too few people",
    "not-its-value": "the value is not what the people behind it give",
    "no-contributions": "nothing tells how much each person gives",
    "needs-people": "no rule knows this kind of number: people judge it",
    "never": "this kind of number is not released",
    "secondary": "hidden so that another hidden cell cannot be worked out",
    "differencing": "differs from another number by fewer people than the policy shows",
}


@dataclass(frozen=True)
class ReleaseFile:
    """A file of a request; cells are None where they are not to be seen, or it has none."""

    name: str
    media_type: str
    size: int
    sha256: str
    cells: int | None = None
    cells_hidden: int | None = None


@dataclass(frozen=True)
class Check:
    """An automatic check; its detail is for checkers."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class Rule:
    """A rule of disclosure control, and how many cells it hides."""

    name: str
    cells: int
    meaning: str


@dataclass(frozen=True)
class ReleaseStep:
    """A step on record: an ISO instant, who, what, the reason or question."""

    at: str
    who: str
    action: str
    reason: str


@dataclass(frozen=True)
class EvidenceCell:
    """A cell for a checker: where it stands, what would be shown, what hides it."""

    file: str
    row: str
    column: str
    shown: str | None
    rule: str
    meaning: str


@dataclass(frozen=True)
class ReleaseRequest:
    """A request for the release of a run."""

    id: str
    project: str
    title: str
    is_unsafe: bool
    # waiting, refused (by a check), returned (by a checker) or released
    state: str
    asked: str
    by: str
    note: str
    files: tuple[ReleaseFile, ...]
    checks: tuple[Check, ...]
    rules: tuple[Rule, ...]
    checkers: tuple[str, ...]
    steps: tuple[ReleaseStep, ...]


def request_release(register: Register, run_id: str, note: str, person: Person) -> ReleaseRequest:
    """Control and check a run's results and ask for their release, for one of its people."""
    run = _get_run_of(register, run_id, person)
    project = projects.get_project(register, run.project)
    projects.require_open_for(register, project, person.name, other_names=person.names)
    with register.transaction() as connection:
        requested = connection.execute(
            "SELECT state FROM requested_run WHERE id = ?", (run_id,)
        ).fetchone()
    if requested is not None and requested["state"] != "ended":
        raise Conflict(f"The run is {requested['state']}: only one that has ended is released.")
    airlock.propose_outputs(register, run_id, person.name, note)
    return find_request(register, run_id, person, is_checker=False)


def list_requests(
    register: Register, person: Person, *, is_checker: bool, project: str = ""
) -> list[ReleaseRequest]:
    """Return the requests that somebody may see, the newest last: a checker those of others."""
    with register.transaction() as connection:
        rows = connection.execute(
            "SELECT run FROM event WHERE action = 'propose' AND ? IN ('', project)"
            " GROUP BY run ORDER BY min(seq)",
            (project,),
        ).fetchall()
    requests = []
    for row in rows:
        run = get_run(register, row["run"])
        own = projects.get_project(register, run.project)
        if _may_see(run, own, person, is_checker=is_checker):
            requests.append(_describe(register, run, is_checker=is_checker))
    return requests


def find_request(
    register: Register, run_id: str, person: Person, *, is_checker: bool
) -> ReleaseRequest:
    """Return a request that somebody may see; NotFound for others as for none."""
    run = _find_run(register, run_id, person, is_checker=is_checker)
    return _describe(register, run, is_checker=is_checker)


def approve_release(
    register: Register, run_id: str, reason: str, person: Person, *, is_unsafe_judged: bool
) -> ReleaseRequest:
    """Approve a request; the second of two different checkers releases it.

    Conflict where something else was released since the check: its approvals lapse, and its people
    ask again.
    """
    _find_run(register, run_id, person, is_checker=True)
    airlock.record_decision(
        register, run_id, person.name, "approve", reason,
        is_unsafe=is_unsafe_judged, other_names=person.names,
    )  # fmt: skip
    if airlock.get_proposal(register, run_id).is_approved:
        try:
            airlock.release_outputs(register, run_id, person.name, other_names=person.names)
        except Conflict:
            # Two second approvals at once: one of them releases it for both.
            if get_run(register, run_id).state != "released":
                airlock.lapse_proposal(register, run_id, person.name)
                raise
    return find_request(register, run_id, person, is_checker=True)


def return_release(register: Register, run_id: str, reason: str, person: Person) -> ReleaseRequest:
    """Return a request to its people; its results stay inside."""
    _find_run(register, run_id, person, is_checker=True)
    airlock.record_decision(
        register, run_id, person.name, "reject", reason, other_names=person.names
    )
    return find_request(register, run_id, person, is_checker=True)


def ask_question(register: Register, run_id: str, question: str, person: Person) -> ReleaseRequest:
    """Put a checker's question on record; its people answer."""
    run = _find_run(register, run_id, person, is_checker=True)
    _append_remark(register, run, person, "ask", question)
    return find_request(register, run_id, person, is_checker=True)


def answer_question(register: Register, run_id: str, answer: str, person: Person) -> ReleaseRequest:
    """Put an answer of its people to a checker's question on record."""
    run = _get_run_of(register, run_id, person)
    if not any(event.action == "ask" for event in _list_events(register, run)):
        raise Conflict("Nobody has asked anything about this request.")
    _append_remark(register, run, person, "answer", answer)
    return find_request(register, run_id, person, is_checker=False)


def read_file(
    register: Register, run_id: str, name: str, person: Person, *, is_checker: bool
) -> tuple[bytes, str]:
    """Return a file as it leaves, with its media type; its people have it once it is released.

    Conflict where it is not the one that was checked.
    """
    run = _find_run(register, run_id, person, is_checker=is_checker)
    if not is_checker and run.state != "released":
        raise Forbidden("Nothing of this request is released yet.")
    digests = _read_digests(register, run)
    folder = _files_folder(register, run)
    if name == CONTROLS_FILE and run.state == "released":
        return (folder / name).read_bytes(), MEDIA_TYPES[".json"]
    # By the register's names: what a caller sends is never part of a path.
    if name not in digests:
        raise NotFound("The request has no such file.")
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != digests[name]:
        raise Conflict("The file is not the one that was checked.")
    with register.transaction() as connection:
        register.append_event(
            connection, run.project, person.name, "download", run=run.id, detail={"file": name}
        )
    return content, MEDIA_TYPES[Path(name).suffix]


def is_requested(register: Register, run_id: str) -> bool:
    """Say whether the release of a run was ever asked for."""
    with register.transaction() as connection:
        row = connection.execute(
            "SELECT 1 FROM event WHERE run = ? AND action = 'propose'", (run_id,)
        ).fetchone()
    return row is not None


def find_tables(register: Register, run_id: str) -> Mapping[str, int]:
    """Return the Delta version of each table that a run read; none where it did not get so far."""
    try:
        return get_run(register, run_id).tables
    except NotFound:
        return {}


def list_evidence(register: Register, run_id: str, person: Person) -> list[EvidenceCell]:
    """Return what a checker sees beside the files: each cell and the rule that hides it."""
    run = _find_run(register, run_id, person, is_checker=True)
    return [_describe_cell(cell) for cell in airlock.read_evidence(register, run.id)]


def _describe(register: Register, run: Run, *, is_checker: bool) -> ReleaseRequest:
    proposal = airlock.get_proposal(register, run.id)
    events = _list_events(register, run)
    asked = [event for event in events if event.action == "propose"][-1]
    sees_cells = is_checker or run.state == "released"
    # Own code decides what its files look like, so whether they pass could tell anything.
    sees_checks = is_checker or run.state == "released" or not proposal.is_unsafe
    return ReleaseRequest(
        id=run.id,
        project=run.project,
        title=_read_title(register, run),
        is_unsafe=proposal.is_unsafe,
        state=_STATES[run.state],
        asked=asked.at,
        by=asked.who,
        note=str(asked.detail.get("note", "")),
        files=_list_files(register, run, sees_cells=sees_cells),
        checks=tuple(
            Check(check.name, check.passed, f"{check.file}: {check.reason}" if is_checker else "")
            for check in (proposal.checks if sees_checks else ())
        ),
        rules=_list_rules(register, run) if sees_cells else (),
        checkers=tuple(decision.person for decision in proposal.decisions),
        steps=tuple(
            ReleaseStep(
                event.at,
                event.who,
                _ACTIONS[event.action],
                str(event.detail.get("reason", event.detail.get("note", ""))),
            )
            for event in events
        ),
    )


def _list_files(register: Register, run: Run, *, sees_cells: bool) -> tuple[ReleaseFile, ...]:
    folder = _files_folder(register, run)
    controls = json.loads((run_folder(register, run.id) / CONTROLS_FILE).read_text("utf-8"))
    files = []
    for name, digest in sorted(_read_digests(register, run).items()):
        record: Mapping[str, Any] = controls.get(name, {})
        has_cells = sees_cells and name.endswith(".csv") and record.get("cells")
        files.append(
            ReleaseFile(
                name,
                MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream"),
                (folder / name).stat().st_size,
                digest,
                record["cells"] if has_cells else None,
                record["cells_hidden"] if has_cells else None,
            )
        )
    if run.state == "released":
        content = (folder / CONTROLS_FILE).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        files.append(ReleaseFile(CONTROLS_FILE, MEDIA_TYPES[".json"], len(content), digest))
    return tuple(files)


def _list_rules(register: Register, run: Run) -> tuple[Rule, ...]:
    hidden = Counter(
        str(cell["hidden_by"])
        for cell in airlock.read_evidence(register, run.id)
        if cell.get("hidden_by")
    )
    return tuple(Rule(name, cells, MEANINGS.get(name, name)) for name, cells in hidden.items())


def _describe_cell(cell: Mapping[str, Any]) -> EvidenceCell:
    table, rule = str(cell["table"]), str(cell["hidden_by"] or "")
    labels = cell["labels"]
    if cell["unit"] == "own code":
        # A column of a table that own code wrote: no rule knows its cells.
        return EvidenceCell(table, "", labels["column"], None, "", str(cell["statistic"]))
    frequency = cell["statistic"] == "frequency"
    column = str(cell["unit"]) if frequency else f"{cell['statistic']} of {cell['unit']}"
    return EvidenceCell(
        file=f"{table}.csv",
        row=", ".join(map(str, labels.values())),
        column=column,
        shown=None if cell["shown"] is None else f"{cell['shown']:.10g}",
        rule=rule,
        meaning=MEANINGS.get(rule, rule),
    )


def _read_title(register: Register, run: Run) -> str:
    with register.transaction() as connection:
        row = connection.execute(
            "SELECT title FROM requested_run WHERE id = ?", (run.id,)
        ).fetchone()
    return run.study if row is None else str(row["title"])


def _read_digests(register: Register, run: Run) -> Mapping[str, str]:
    with register.transaction() as connection:
        row = connection.execute("SELECT outputs FROM run WHERE id = ?", (run.id,)).fetchone()
    digests: Mapping[str, str] = json.loads(row["outputs"])
    return digests


def _files_folder(register: Register, run: Run) -> Path:
    if run.state == "released":
        return register.folder / "released" / run.project / run.id
    return run_folder(register, run.id) / "outputs"


def _list_events(register: Register, run: Run) -> Sequence[Event]:
    return [
        event
        for event in register.events(run.project)
        if event.run == run.id and event.action in _ACTIONS
    ]


def _append_remark(register: Register, run: Run, person: Person, action: str, text: str) -> None:
    if not text.strip():
        raise Unprocessable("Say what is asked or answered.")
    with register.transaction() as connection:
        state = _read_state(connection, run.id)
        if state != "proposed":
            raise Conflict(
                f"The request is {_STATES.get(state, state)}: nothing is asked any more."
            )
        register.append_event(
            connection, run.project, person.name, action, run=run.id, before=state, after=state,
            detail={"reason": text},
        )  # fmt: skip


def _read_state(connection: sqlite3.Connection, run_id: str) -> str:
    row = connection.execute("SELECT state FROM run WHERE id = ?", (run_id,)).fetchone()
    return str(row["state"])


def _find_run(register: Register, run_id: str, person: Person, *, is_checker: bool) -> Run:
    run = _get_run(register, run_id)
    project = projects.get_project(register, run.project)
    if is_checker:
        airlock.require_checker_of_others(run, project, {person.name, *person.names})
    if run.state not in _STATES or not _may_see(run, project, person, is_checker=is_checker):
        raise NotFound("There is no such request.")
    return run


def _get_run_of(register: Register, run_id: str, person: Person) -> Run:
    run = _get_run(register, run_id)
    project = projects.get_project(register, run.project)
    if not _is_of(project, person):
        raise NotFound("There is no such run.")
    return run


def _get_run(register: Register, run_id: str) -> Run:
    try:
        return get_run(register, run_id)
    except NotFound:
        # Without what was sent.
        raise NotFound("There is no such run.") from None


def _may_see(run: Run, project: Project, person: Person, *, is_checker: bool) -> bool:
    if is_checker:
        names = {person.name, *person.names}
        return run.who not in names and not projects.is_of_project(project, names)
    return _is_of(project, person)


def _is_of(project: Project, person: Person) -> bool:
    return not {person.name, *person.names}.isdisjoint(project.people)
