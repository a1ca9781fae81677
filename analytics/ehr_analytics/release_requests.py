"""Requests for release: who asks, sees, questions, answers, decides and fetches.

The steps are the airlock's; a request has the id of its run, and `release_records` says what it
looks like.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from ehr_analytics import airlock
from ehr_analytics import project as projects
from ehr_analytics.people import Person
from ehr_analytics.project import Project
from ehr_analytics.register import Register
from ehr_analytics.release_records import (
    MEDIA_TYPES,
    RECORD_FILES,
    STATES,
    EvidenceCell,
    ReleaseRequest,
    describe_cell,
    describe_request,
    find_files_folder,
    list_steps,
    read_digests,
    read_record_digests,
)
from ehr_analytics.run_log import Run, get_run
from ehr_fhir.errors import Conflict, Forbidden, NotFound, Unprocessable

__all__ = [
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
            requests.append(describe_request(register, run, is_checker=is_checker))
    return requests


def find_request(
    register: Register, run_id: str, person: Person, *, is_checker: bool
) -> ReleaseRequest:
    """Return a request that somebody may see; NotFound for others as for none."""
    run = _find_run(register, run_id, person, is_checker=is_checker)
    return describe_request(register, run, is_checker=is_checker)


def approve_release(
    register: Register,
    run_id: str,
    reason: str,
    person: Person,
    *,
    is_unsafe_judged: bool,
    digest: str | None = None,
) -> ReleaseRequest:
    """Approve a request; the second of two different checkers releases it.

    `digest` names the files that were read: Conflict when they are others. Conflict too where
    something else was released since the check: its approvals lapse, and its people
    ask again.
    """
    _find_run(register, run_id, person, is_checker=True)
    # Both approved, and the release was cut off: whoever approves again brings it to its end.
    if not airlock.get_proposal(register, run_id).is_approved:
        airlock.record_decision(
            register, run_id, person.name, "approve", reason,
            is_unsafe=is_unsafe_judged, other_names=person.names, digest=digest,
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
    if not any(event.action == "ask" for event in list_steps(register, run)):
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
    folder = find_files_folder(register, run)
    digests = {**read_digests(register, run), **read_record_digests(register, run)}
    # By the register's names: what a caller sends is never part of a path.
    if name not in digests:
        raise NotFound("The request has no such file.")
    content = (folder / name).read_bytes()
    if digests[name] and hashlib.sha256(content).hexdigest() != digests[name]:
        raise Conflict("The file is not the one that was checked.")
    with register.transaction() as connection:
        register.append_event(
            connection, run.project, person.name, "download", run=run.id, detail={"file": name}
        )
    return content, RECORD_FILES.get(name) or MEDIA_TYPES[Path(name).suffix]


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
    return [describe_cell(cell) for cell in airlock.read_evidence(register, run.id)]


def _append_remark(register: Register, run: Run, person: Person, action: str, text: str) -> None:
    if not text.strip():
        raise Unprocessable("Say what is asked or answered.")
    with register.transaction() as connection:
        state = _read_state(connection, run.id)
        if state != "proposed":
            raise Conflict(f"The request is {STATES.get(state, state)}: nothing is asked any more.")
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
        airlock.require_checker_of_others(run, project, person.all_names)
    if run.state not in STATES or not _may_see(run, project, person, is_checker=is_checker):
        raise NotFound("There is no such run.")
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
        names = person.all_names
        return run.who not in names and not projects.is_of_project(project, names)
    return _is_of(project, person)


def _is_of(project: Project, person: Person) -> bool:
    return not person.all_names.isdisjoint(project.people)
