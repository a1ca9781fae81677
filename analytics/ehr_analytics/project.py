"""Research projects: draft, submitted, approved, open, closed (the Five Safes as a state machine).

Two different people approve, neither of them the applicant or one of the project's people. A step
that the state does not allow, or that the person may not take, is refused and changes nothing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from ehr_analytics.date_form_pairs import find_shared_form
from ehr_analytics.register import Register
from ehr_analytics.researchers import require_trained
from ehr_fhir.errors import Conflict, EhrError, Forbidden, NotFound, Unprocessable
from ehr_privacy.audit import digest_json
from ehr_privacy.deid import DATE_FORMS, DateForm, load_rules
from ehr_privacy.disclosure import POLICIES

APPROVALS_NEEDED = 2

# action -> (states it starts from, state it ends in); `suspension` takes the last two
TRANSITIONS = {
    "submit": (("draft",), "submitted"),
    "return": (("submitted",), "draft"),
    "approve": (("submitted",), "approved"),
    "open": (("approved",), "open"),
    "close": (("open", "suspended"), "closed"),
    "suspend": (("open",), "suspended"),
    "resume": (("suspended",), "open"),
}

# A data item that is no column: its approvers let the project's people read de-identified rows.
READ_ROWS = "rows.read"
# Beside it: they let them run views of their own, over any element of de-identified records.
OWN_VIEWS = "views.own"

# Beside it: they let them read the scrubbed notes (free text) of de-identified records.
READ_NOTES = "notes.read"
# Their table, of which no column is applied for.
NOTES_VIEW = "notes"
NOTES_COLUMNS = ("record_id", "record_type", "patient_id", "element", "note")
# They let a study count what only identified records have; nobody reads a row of it.
COUNT_DISTRICTS, COUNT_HOURS = "districts.count", "hours.count"
# What approvers grant as a whole, and no column.
GRANTED_ITEMS = frozenset({READ_ROWS, OWN_VIEWS, READ_NOTES, COUNT_DISTRICTS, COUNT_HOURS})

DEFAULT_POLICY = "opensafely-7-5"
# What an application has that names no form of dates: what tells least.
SAFEST_DATES: DateForm = "quarter"

_ID = re.compile(r"[a-z0-9][a-z0-9-]{1,63}")
_ITEM = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Project:
    """A project's application, its state and its approvers."""

    id: str
    title: str
    purpose: str
    applicant: str
    ethics: str
    items: tuple[str, ...]
    people: tuple[str, ...]
    period_from: date
    period_to: date
    state: str = "draft"
    approvers: tuple[str, ...] = ()
    # Of disclosure control, for everything that leaves: agreed with the application.
    policy: str = DEFAULT_POLICY
    # In which form its people read dates; the register writes what was approved before as a shift.
    dates: DateForm = SAFEST_DATES
    # How many persons of the lake have to have a code that its people read as it is; 0 stands for
    # the number of the rules, which is the least.
    rare_code_persons: int = 0
    # View -> why its columns are needed; approvers read it beside them.
    justifications: Mapping[str, str] = field(default_factory=dict)

    @property
    def may_read_rows(self) -> bool:
        """Say whether its people may read rows; without it they only run studies."""
        return READ_ROWS in self.items

    @property
    def may_run_own_views(self) -> bool:
        """Say whether its people may run views of their own, whose rows they may read."""
        return self.may_read_rows and OWN_VIEWS in self.items

    @property
    def may_read_notes(self) -> bool:
        """Say whether its people may read scrubbed notes, as rows."""
        return self.may_read_rows and READ_NOTES in self.items

    def row_columns_by_view(self) -> dict[str, tuple[str, ...]]:
        """Return what queries of rows may read: the approved columns, and notes if granted.

        Studies read no notes: what they count may not be made of a text.
        """
        notes = {NOTES_VIEW: NOTES_COLUMNS} if self.may_read_notes else {}
        return {**self.columns_by_view(), **notes}

    def columns_by_view(self) -> dict[str, tuple[str, ...]]:
        """Return the approved columns of each view.

        The order of the columns is the order of the application.
        """
        views: dict[str, list[str]] = {}
        for item in self.items:
            view, column = item.split(".")
            # Whatever is approved, a column of notes is not: they are granted as a whole.
            if item in GRANTED_ITEMS or view == NOTES_VIEW:
                continue
            views.setdefault(view, []).append(column)
        return {view: tuple(columns) for view, columns in views.items()}


def create_project(register: Register, project: Project) -> Project:
    """Register a new project as a draft."""
    _require_complete(project)
    with register.transaction() as connection:
        if connection.execute("SELECT 1 FROM project WHERE id = ?", (project.id,)).fetchone():
            raise Conflict(f"There is already a project {project.id}: choose another id.")
        _write_draft(connection, project)
        register.append_event(connection, project.id, project.applicant, "new", after="draft")
        return read_project(connection, project.id)


def change_draft(register: Register, project: Project) -> Project:
    """Replace the application of a draft; only its applicant may, who stays the same."""
    _require_complete(project)
    with register.transaction() as connection:
        before = read_project(connection, project.id)
        if before.applicant != project.applicant:
            raise Forbidden("Only the applicant changes a draft.")
        if before.state != "draft":
            raise Conflict(f"Project {project.id} is {before.state}: only a draft is changed.")
        connection.execute("DELETE FROM justification WHERE project = ?", (project.id,))
        connection.execute("DELETE FROM project WHERE id = ?", (project.id,))
        _write_draft(connection, project)
        register.append_event(
            connection, project.id, project.applicant, "change", before="draft", after="draft"
        )
        return read_project(connection, project.id)


def submit_project(
    register: Register, project_id: str, login: str, *, other_names: Collection[str] = ()
) -> Project:
    """Submit a draft for approval; only the applicant may."""
    with register.transaction() as connection:
        project = read_project(connection, project_id)
        if project.applicant not in {login, *other_names}:
            raise Forbidden("Only the applicant submits a project.")
        _refuse_combined_dates(connection, project, Unprocessable)
        return _change_state(register, connection, project, login, "submit")


def return_project(
    register: Register,
    project_id: str,
    login: str,
    reason: str,
    *,
    other_names: Collection[str] = (),
) -> Project:
    """Return a submitted project to its applicant, with the reason; earlier approvals lapse."""
    with register.transaction() as connection:
        project = read_project(connection, project_id)
        require_independent(project, {login, *other_names})
        if not reason.strip():
            raise Unprocessable("Say why the project goes back.")
        connection.execute("DELETE FROM approval WHERE project = ?", (project_id,))
        return _change_state(register, connection, project, login, "return", reason)


def approve_project(
    register: Register,
    project_id: str,
    login: str,
    *,
    reason: str = "",
    other_names: Collection[str] = (),
    digest: str | None = None,
) -> Project:
    """Approve a submitted project; the second of two different approvers makes it approved.

    `other_names` are names of further accounts of the same person: two accounts are one approver.
    `digest` is that of the application that was read: Conflict when another took its place.
    """
    names = {login, *other_names}
    with register.transaction() as connection:
        project = read_project(connection, project_id)
        require_state(project, "approve")
        require_independent(project, names)
        if digest is not None and digest != digest_application(project):
            raise Conflict(f"Project {project.id} has another application than the one you read.")
        if names & set(project.approvers):
            raise Forbidden("You have approved this project: a different person gives the second.")
        _refuse_combined_dates(connection, project, Conflict)
        connection.execute(
            "INSERT INTO approval VALUES (?, ?, ?)", (project_id, login, register.timestamp())
        )
        if len(project.approvers) + 1 < APPROVALS_NEEDED:
            register.append_event(
                connection, project_id, login, "approve", before="submitted", after="submitted",
                detail={**to_event_detail(reason), "application": digest_application(project)},
            )  # fmt: skip
            return read_project(connection, project_id)
        return _change_state(register, connection, project, login, "approve", reason)


def open_project(
    register: Register,
    project_id: str,
    login: str,
    *,
    reason: str = "",
    other_names: Collection[str] = (),
) -> Project:
    """Open an approved project and create its key; only one of its approvers may."""
    with register.transaction() as connection:
        project = read_project(connection, project_id)
        require_state(project, "open")
        names = {login, *other_names}
        require_independent(project, names)
        if not names & set(project.approvers):
            raise Forbidden("One of the project's approvers opens it.")
        _refuse_combined_dates(connection, project, Conflict)
        write_new_key(project_key_path(register.data, project_id))
        return _change_state(register, connection, project, login, "open", reason)


def close_project(
    register: Register,
    project_id: str,
    login: str,
    *,
    reason: str = "",
    other_names: Collection[str] = (),
) -> Project:
    """Close an open or suspended project; destroy its key, and with it all its pseudonyms."""
    with register.transaction() as connection:
        project = read_project(connection, project_id)
        if not {login, *other_names} & {project.applicant, *project.approvers}:
            raise Forbidden("The applicant or one of the approvers closes a project.")
        closed = _change_state(register, connection, project, login, "close", reason)
    # After the commit: a key destroyed before it would break a project that is still open.
    project_key_path(register.data, project_id).unlink(missing_ok=True)
    return closed


def get_project(register: Register, project_id: str) -> Project:
    """Return a project with its approvers."""
    with register.transaction() as connection:
        return read_project(connection, project_id)


def list_projects(register: Register) -> list[Project]:
    """Return all projects by id."""
    with register.transaction() as connection:
        return read_projects(connection)


def require_open_for(
    register: Register, project: Project, login: str, *, other_names: Collection[str] = ()
) -> None:
    """Refuse work on a project that is not open, not this person's, or outside its period.

    Nor does somebody work whose training is not on record, or has expired.
    """
    names, today = {login, *other_names}, register.clock().date()
    if project.state != "open":
        raise Conflict(f"Project {project.id} is {project.state}: only an open project runs.")
    if not names & set(project.people):
        raise Forbidden(f"You are not one of the people of project {project.id}.")
    require_trained(register, names)
    if not project.period_from <= today <= project.period_to:
        raise Forbidden(
            f"Project {project.id} is approved from {project.period_from} to {project.period_to}."
        )


def project_key_path(data: Path, project_id: str) -> Path:
    """Return the path of a project's key."""
    return data / "keys" / "research" / f"{project_id}.key"


def read_project_key(data: Path, project_id: str) -> str:
    """Return the key of an open project, by which its pseudonyms are made."""
    return project_key_path(data, project_id).read_text("ascii")


def read_projects(connection: sqlite3.Connection) -> list[Project]:
    """Return all projects by id, within a transaction."""
    ids = [row["id"] for row in connection.execute("SELECT id FROM project ORDER BY id")]
    return [read_project(connection, project_id) for project_id in ids]


def read_project(connection: sqlite3.Connection, project_id: str) -> Project:
    """Return a project within a transaction; NotFound without it."""
    row = connection.execute(
        "SELECT project.*, suspension.project AS suspended FROM project"
        " LEFT JOIN suspension ON suspension.project = id WHERE id = ?",
        (project_id,),
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no project {project_id!r}.")
    approvers = connection.execute(
        "SELECT person FROM approval WHERE project = ? ORDER BY at, rowid", (project_id,)
    )
    justifications = connection.execute(
        "SELECT view, text FROM justification WHERE project = ? ORDER BY view", (project_id,)
    )
    return Project(
        id=row["id"],
        title=row["title"],
        purpose=row["purpose"],
        applicant=row["applicant"],
        ethics=row["ethics"],
        items=tuple(json.loads(row["items"])),
        people=tuple(json.loads(row["people"])),
        period_from=date.fromisoformat(row["period_from"]),
        period_to=date.fromisoformat(row["period_to"]),
        state="suspended" if row["suspended"] and row["state"] == "open" else row["state"],
        approvers=tuple(approver["person"] for approver in approvers),
        policy=row["policy"],
        dates=row["dates"],
        rare_code_persons=row["rare_code_persons"],
        justifications={row["view"]: row["text"] for row in justifications},
    )


def _write_draft(connection: sqlite3.Connection, project: Project) -> None:
    connection.execute(
        "INSERT INTO project(id, title, purpose, applicant, ethics, items, people, period_from,"
        " period_to, state, policy, dates, rare_code_persons)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'draft', ?, ?, ?)",
        (
            project.id,
            project.title,
            project.purpose,
            project.applicant,
            project.ethics,
            json.dumps(project.items),
            json.dumps(project.people),
            project.period_from.isoformat(),
            project.period_to.isoformat(),
            project.policy,
            project.dates,
            project.rare_code_persons,
        ),
    )
    connection.executemany(
        "INSERT INTO justification VALUES (?, ?, ?)",
        [(project.id, view, text) for view, text in project.justifications.items()],
    )


def _change_state(
    register: Register,
    connection: sqlite3.Connection,
    project: Project,
    login: str,
    action: str,
    reason: str = "",
) -> Project:
    require_state(project, action)
    after = TRANSITIONS[action][1]
    connection.execute("UPDATE project SET state = ? WHERE id = ?", (after, project.id))
    detail = to_event_detail(reason)
    if action == "approve":
        detail["application"] = digest_application(project)
    register.append_event(
        connection, project.id, login, action, before=project.state, after=after, detail=detail
    )
    return read_project(connection, project.id)


def digest_application(project: Project) -> str:
    """Return a digest of what an approver approves: the application and its policy."""
    return digest_json(
        [
            *(project.id, project.title, project.purpose, project.applicant, project.ethics),
            *(list(project.items), list(project.people), dict(project.justifications)),
            *(project.period_from.isoformat(), project.period_to.isoformat()),
            *(project.policy, project.dates, project.rare_code_persons),
        ]
    )


def to_event_detail(reason: str) -> dict[str, object]:
    """Return what the log keeps of a reason."""
    return {"reason": reason} if reason else {}


def require_state(project: Project, action: str) -> None:
    """Refuse a step that a project's state does not allow."""
    before, after = TRANSITIONS[action]
    if project.state not in before:
        raise Conflict(
            f"Project {project.id} is {project.state}; only a project that is "
            f"{' or '.join(before)} can become {after}."
        )


def require_not_suspended(project: Project) -> None:
    """Refuse a step towards a release of a suspended project."""
    if project.state == "suspended":
        raise Conflict(f"Project {project.id} is suspended: nothing of it leaves.")


def require_may_release(project: Project) -> None:
    """Refuse a step towards a release of a project that is suspended or closed."""
    require_not_suspended(project)
    if project.state == "closed":
        raise Conflict(f"Project {project.id} is closed: nothing more of it leaves.")


def is_of_project(project: Project, names: Collection[str]) -> bool:
    """Say whether somebody of these names applied for a project or works in it."""
    return not {project.applicant, *project.people}.isdisjoint(names)


def _refuse_combined_dates(
    connection: sqlite3.Connection, project: Project, error: type[EhrError]
) -> None:
    """Refuse a step by which somebody would have two forms of dates that tell true days."""
    if (why := find_shared_form(project, read_projects(connection))) is not None:
        raise error(why)


def require_independent(project: Project, names: Collection[str]) -> None:
    """Refuse a decision by somebody who applied for the project or works in it."""
    if is_of_project(project, names):
        raise Forbidden("Nobody decides on a project of their own.")


def _require_complete(project: Project) -> None:
    faults = []
    if not _ID.fullmatch(project.id):
        faults.append("the id has 2 to 64 small letters, digits and hyphens")
    for name in ("title", "purpose", "applicant", "ethics"):
        if not getattr(project, name).strip():
            faults.append(f"{name} is empty")
    if not project.items:
        faults.append("it asks for no data items")
    faults += _faulty_items(project.items)
    if project.policy not in POLICIES:
        faults.append(f"its policy is none of {', '.join(POLICIES)}")
    if project.dates not in DATE_FORMS:
        faults.append(f"its form of dates is none of {', '.join(DATE_FORMS)}")
    least = load_rules().rare_code_persons
    if project.rare_code_persons and project.rare_code_persons < least:
        faults.append(f"the persons of a rare code are {least} or more")
    if not project.people:
        faults.append("it names no people")
    if project.period_from > project.period_to:
        faults.append("its period ends before it begins")
    if faults:
        raise Unprocessable("The project cannot be written down: " + "; ".join(faults) + ".")


def _faulty_items(items: Sequence[str]) -> list[str]:
    if not all(map(_ITEM.fullmatch, items)):
        return ["a data item is not of the form view.column"]
    if any(item.startswith(f"{NOTES_VIEW}.") and item != READ_NOTES for item in items):
        return [f"notes are applied for as a whole, by {READ_NOTES}"]
    if READ_NOTES in items and READ_ROWS not in items:
        return [f"notes are read as rows: apply for {READ_ROWS} too"]
    return []


def write_new_key(path: Path) -> None:
    """Write a new key of a project, whole at each instant, in the place of the one there was."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(secrets.token_hex(32), "ascii")
    os.replace(new, path)
