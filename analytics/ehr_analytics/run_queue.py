"""Runs that people ask for over the API: a queue in the register, and how each of them ended.

A run has a row and, while it runs, a lock that its process holds. The operating system releases the
lock when the process ends, however it ends: a run that is running and that nobody holds was cut off
and says so. What is queued waits over a restart.

A run's log has lines of the platform alone. The text of an error, or what code printed, could quote
a row.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ehr_analytics import project as projects
from ehr_analytics.code_run import require_output_names
from ehr_analytics.cohort_study import parse_cohort_study
from ehr_analytics.cohorts.project_run import prepare_project_cohort
from ehr_analytics.held_lock import is_held
from ehr_analytics.live_counts import ShownStep
from ehr_analytics.people import Person
from ehr_analytics.register import Register
from ehr_analytics.run_log import create_run_id
from ehr_fhir.errors import NotFound, TooMany, Unprocessable

__all__ = [
    "COHORT_STUDY",
    "OWN_CODE",
    "RequestedRun",
    "RunLine",
    "append_line",
    "claim_next",
    "end_run",
    "fail_cut_off",
    "get_requested_run",
    "has_waiting",
    "list_requested_runs",
    "request_code_run",
    "request_cohort_run",
]

COHORT_STUDY, OWN_CODE = "cohort-study", "code"
# Chosen: of a project in a day. Whether code ends well tells its author something, once a run.
RUNS_IN_WINDOW = 20
WINDOW_SECONDS = 24 * 3600.0
_LONGEST_DEFINITION = 200_000
_CUT_OFF = "The run was cut off by a restart of the platform: ask for it again."


@dataclass(frozen=True)
class RunLine:
    """A line of a run's log; `at` is in seconds since 1970."""

    at: float
    text: str


@dataclass(frozen=True)
class RequestedRun:
    """A run as it was asked for, and how far it is; times are seconds since 1970."""

    id: str
    project: str
    person: Person
    kind: str
    title: str
    definition: str
    outputs: tuple[str, ...]
    # queued, running, ended or failed
    state: str
    asked: float
    started: float | None
    ended: float | None
    fault: str
    steps: tuple[ShownStep, ...]
    log: tuple[RunLine, ...]


def request_cohort_run(
    register: Register, project_id: str, definition: str, person: Person
) -> RequestedRun:
    """Queue a study of a cohort, given as TOML; Unprocessable names a fault of it."""
    project = projects.get_project(register, project_id)
    study = parse_cohort_study(definition, project_id)
    prepare_project_cohort(register, project, study.cohort, person.name, other_names=person.names)
    return _append_request(
        register, project_id, person, COHORT_STUDY, study.name, study.title, definition, ()
    )


def request_code_run(
    register: Register, project_id: str, code: str, outputs: Sequence[str], person: Person
) -> RequestedRun:
    """Queue own code with the files that it will write."""
    project = projects.get_project(register, project_id)
    projects.require_open_for(register, project, person.name, other_names=person.names)
    require_output_names(outputs)
    return _append_request(
        register, project_id, person, OWN_CODE, "code", "own code", code, outputs
    )


def list_requested_runs(
    register: Register, project_id: str, count: int, older: int | None = None
) -> tuple[list[RequestedRun], int | None]:
    """Return a page of the runs of a project, newest first; those that were cut off say so.

    A page begins after the position that the one before gave as its second value, which is None
    where nothing is older.
    """
    fail_cut_off(register)
    with register.transaction() as connection:
        rows = connection.execute(
            "SELECT * FROM requested_run WHERE project = ?1 AND (?2 IS NULL OR seq < ?2)"
            " ORDER BY seq DESC LIMIT ?3",
            (project_id, older, count + 1),
        ).fetchall()
        runs = [_from_row(connection, row) for row in rows[:count]]
    return runs, rows[count - 1]["seq"] if len(rows) > count else None


def get_requested_run(register: Register, run_id: str) -> RequestedRun:
    """Return a run that was asked for over the API."""
    with register.transaction() as connection:
        row = connection.execute("SELECT * FROM requested_run WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise NotFound("There is no such run.")
        return _from_row(connection, row)


def has_waiting(register: Register) -> bool:
    """Say whether a run waits for its turn."""
    with register.transaction() as connection:
        row = connection.execute("SELECT 1 FROM requested_run WHERE state = 'queued'").fetchone()
    return row is not None


def claim_next(register: Register) -> tuple[str, BinaryIO] | None:
    """Take the oldest run that waits; return its id and its lock, which says that it runs."""
    with register.transaction() as connection:
        # One statement finds and takes it: no two processes run it.
        row = connection.execute(
            "UPDATE requested_run SET state = 'running', started = ? WHERE seq ="
            " (SELECT seq FROM requested_run WHERE state = 'queued' ORDER BY seq LIMIT 1)"
            " RETURNING id",
            (register.clock().timestamp(),),
        ).fetchone()
        if row is None:
            return None
        path = _lock_path(register, row["id"])
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Within the transaction: no row is running without its lock.
        lock = path.open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
        _append_line(register, connection, row["id"], "The run has begun.")
    return row["id"], lock


def append_line(register: Register, run_id: str, text: str) -> None:
    """Append a line to a run's log: words of the platform, never those of an error."""
    with register.transaction() as connection:
        _append_line(register, connection, run_id, text)


def end_run(
    register: Register, run_id: str, *, fault: str = "", steps: Sequence[ShownStep] = ()
) -> bool:
    """Say how a running run ended; False, and nothing done, where it had ended already."""
    state = "failed" if fault else "ended"
    with register.transaction() as connection:
        row = connection.execute(
            "UPDATE requested_run SET state = ?, ended = ?, fault = ?, steps = ?"
            " WHERE id = ? AND state = 'running' RETURNING project, who",
            (state, register.clock().timestamp(), fault,
             json.dumps([[step.name, step.people] for step in steps]), run_id),
        ).fetchone()  # fmt: skip
        if row is None:
            return False
        _append_line(register, connection, run_id, fault or "The run has ended.")
        register.append_event(
            connection, row["project"], row["who"], "end", run=run_id, before="running", after=state
        )
    _lock_path(register, run_id).unlink(missing_ok=True)
    return True


def fail_cut_off(register: Register) -> None:
    """Say of each run that is running and that no process works on that it was cut off."""
    with register.transaction() as connection:
        rows = connection.execute("SELECT id FROM requested_run WHERE state = 'running'").fetchall()
    for row in rows:
        if not is_held(_lock_path(register, row["id"])):
            end_run(register, row["id"], fault=_CUT_OFF)


def _append_request(
    register: Register,
    project_id: str,
    person: Person,
    kind: str,
    prefix: str,
    title: str,
    definition: str,
    outputs: Sequence[str],
) -> RequestedRun:
    if len(definition) > _LONGEST_DEFINITION:
        raise Unprocessable(f"A study or code has at most {_LONGEST_DEFINITION} characters.")
    now, run_id = register.clock().timestamp(), create_run_id(register, prefix)
    with register.transaction() as connection:
        # One statement counts and adds: no two requests take the same place.
        row = connection.execute(
            "INSERT INTO requested_run(id, project, who, names, kind, title, definition, outputs,"
            " state, asked) SELECT ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?"
            " WHERE (SELECT count(*) FROM requested_run WHERE project = ?2 AND asked > ?10) < ?11"
            " RETURNING id",
            (run_id, project_id, person.name, json.dumps(sorted(person.names)), kind, title,
             definition, json.dumps(list(outputs)), now, now - WINDOW_SECONDS, RUNS_IN_WINDOW),
        ).fetchone()  # fmt: skip
        if row is None:
            raise TooMany(f"A project has {RUNS_IN_WINDOW} runs in a day: wait, or ask for less.")
        register.append_event(
            connection, project_id, person.name, "ask-run", run=run_id, after="queued"
        )
        _append_line(register, connection, run_id, "The run waits for its turn.")
    return get_requested_run(register, run_id)


def _append_line(
    register: Register, connection: sqlite3.Connection, run_id: str, text: str
) -> None:
    connection.execute(
        "INSERT INTO run_line VALUES (?, ?, ?)", (run_id, register.clock().timestamp(), text)
    )


def _from_row(connection: sqlite3.Connection, row: sqlite3.Row) -> RequestedRun:
    lines = connection.execute(
        "SELECT at, text FROM run_line WHERE run = ? ORDER BY rowid", (row["id"],)
    ).fetchall()
    return RequestedRun(
        id=row["id"],
        project=row["project"],
        person=Person(row["who"], frozenset(json.loads(row["names"]))),
        kind=row["kind"],
        title=row["title"],
        definition=row["definition"],
        outputs=tuple(json.loads(row["outputs"])),
        state=row["state"],
        asked=row["asked"],
        started=row["started"],
        ended=row["ended"],
        fault=row["fault"],
        steps=tuple(ShownStep(name, people) for name, people in json.loads(row["steps"])),
        log=tuple(RunLine(line["at"], line["text"]) for line in lines),
    )


def _lock_path(register: Register, run_id: str) -> Path:
    return register.folder / "running" / run_id
