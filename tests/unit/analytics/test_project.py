"""Projects: who may take which step, and in which order."""

from __future__ import annotations

import sqlite3
import stat
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ehr_analytics import project as projects
from ehr_fhir.errors import Conflict, Forbidden, NotFound, Unprocessable
from tests.lib.research import DRAFT, open_project, register


def test_a_project_goes_from_draft_to_closed_and_every_step_is_logged(tmp_path: Path) -> None:
    book = register(tmp_path)

    open_project(book)
    projects.close_project(book, DRAFT.id, "researcher.lau")

    steps = [(e.who, e.action, e.before, e.after) for e in book.events(DRAFT.id)]
    assert steps == [
        ("researcher.lau", "new", None, "draft"),
        ("researcher.lau", "submit", "draft", "submitted"),
        ("steward.ng", "approve", "submitted", "submitted"),
        ("auditor.tse", "approve", "submitted", "approved"),
        ("steward.ng", "open", "approved", "open"),
        ("researcher.lau", "close", "open", "closed"),
    ]
    assert {e.at for e in book.events(DRAFT.id)} == {"2026-11-22T08:30:00+00:00"}


def test_one_approver_is_not_enough_and_cannot_count_twice(tmp_path: Path) -> None:
    book = register(tmp_path)
    projects.create_project(book, DRAFT)
    projects.submit_project(book, DRAFT.id, "researcher.lau")
    projects.approve_project(book, DRAFT.id, "steward.ng")

    with pytest.raises(Forbidden, match="different person"):
        projects.approve_project(book, DRAFT.id, "steward.ng")
    with pytest.raises(Conflict, match="is submitted"):
        projects.open_project(book, DRAFT.id, "steward.ng")

    assert projects.get_project(book, DRAFT.id).state == "submitted"


@pytest.mark.parametrize("who", ["researcher.lau", "researcher.mok"])
def test_nobody_approves_a_project_of_their_own(tmp_path: Path, who: str) -> None:
    book = register(tmp_path)
    projects.create_project(book, replace(DRAFT, people=("researcher.mok",)))
    projects.submit_project(book, DRAFT.id, "researcher.lau")

    with pytest.raises(Forbidden):
        projects.approve_project(book, DRAFT.id, who)


def test_illegal_transitions_are_refused_and_change_nothing(tmp_path: Path) -> None:
    book = register(tmp_path)
    projects.create_project(book, DRAFT)

    with pytest.raises(Conflict, match="is draft; only a project that is submitted"):
        projects.approve_project(book, DRAFT.id, "steward.ng")
    with pytest.raises(Conflict):
        projects.open_project(book, DRAFT.id, "steward.ng")
    with pytest.raises(Conflict):
        projects.close_project(book, DRAFT.id, "researcher.lau")
    with pytest.raises(Forbidden):
        projects.submit_project(book, DRAFT.id, "researcher.mok")

    assert [event.action for event in book.events(DRAFT.id)] == ["new"]


def test_a_project_sent_back_loses_its_approvals(tmp_path: Path) -> None:
    book = register(tmp_path)
    projects.create_project(book, DRAFT)
    projects.submit_project(book, DRAFT.id, "researcher.lau")
    projects.approve_project(book, DRAFT.id, "steward.ng")

    returned = projects.return_project(book, DRAFT.id, "auditor.tse", "Name the people.")

    assert (returned.state, returned.approvers) == ("draft", ())
    assert book.events(DRAFT.id)[-1].detail == {"reason": "Name the people."}


def test_a_project_needs_its_ethics_reference_items_people_and_period(tmp_path: Path) -> None:
    empty = replace(
        DRAFT,
        ethics=" ",
        items=("encounter_flat",),
        people=(),
        period_to=date(2026, 1, 1),
    )

    with pytest.raises(Unprocessable) as refusal:
        projects.create_project(register(tmp_path), empty)

    for fault in ("ethics", "view.column", "people", "period"):
        assert fault in str(refusal.value)


def test_an_id_is_given_once(tmp_path: Path) -> None:
    book = register(tmp_path)
    projects.create_project(book, DRAFT)

    with pytest.raises(Conflict):
        projects.create_project(book, DRAFT)

    assert [project.id for project in projects.list_projects(book)] == [DRAFT.id]


def test_an_unknown_project_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        projects.get_project(register(tmp_path), "none")


def test_only_its_people_work_on_an_open_project_within_its_period(tmp_path: Path) -> None:
    book = register(tmp_path)
    opened = open_project(book, period_to=date(2027, 10, 31))
    late = register(tmp_path, datetime(2027, 11, 1, tzinfo=UTC))

    projects.require_open_for(book, opened, "researcher.mok")

    with pytest.raises(Forbidden, match="people"):
        projects.require_open_for(book, opened, "steward.ng")
    with pytest.raises(Forbidden, match="2027-10-31"):
        projects.require_open_for(late, opened, "researcher.lau")
    with pytest.raises(Conflict, match="draft"):
        projects.require_open_for(book, DRAFT, "researcher.lau")


def test_the_key_of_a_project_is_private_and_dies_with_it(tmp_path: Path) -> None:
    book = register(tmp_path)
    open_project(book)
    key = projects.project_key_path(tmp_path, DRAFT.id)

    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_text()) == 64

    projects.close_project(book, DRAFT.id, "steward.ng")
    assert not key.exists()


def test_the_log_can_be_neither_changed_nor_cut(tmp_path: Path) -> None:
    book = register(tmp_path)
    projects.create_project(book, DRAFT)

    for statement in ("UPDATE event SET who = 'x'", "DELETE FROM event"):
        with pytest.raises(sqlite3.IntegrityError), book.transaction() as connection:
            connection.execute(statement)


def test_columns_are_grouped_by_view() -> None:
    asked = replace(DRAFT, items=("a.x", "b.y", "a.z"))

    assert asked.columns_by_view() == {"a": ("x", "z"), "b": ("y",)}
