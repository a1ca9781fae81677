"""Suspension: nothing of a project runs or leaves, until two different people resume it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehr_analytics import airlock
from ehr_analytics import project as projects
from ehr_analytics.register import Register
from ehr_analytics.suspension import resume_project, suspend_project
from ehr_fhir.errors import Conflict, Forbidden, Unprocessable
from tests.lib.released_cells import count_persons, store_run, write_persons
from tests.lib.research import DRAFT, open_project, register

WHY = "A release is looked into."


@pytest.fixture
def book(tmp_path: Path) -> Register:
    """Return the register of an open project."""
    made = register(tmp_path)
    open_project(made)
    return made


def test_nobody_works_on_a_suspended_project_until_two_people_resume_it(book: Register) -> None:
    suspended = suspend_project(book, DRAFT.id, "steward.ho", WHY)

    assert suspended.state == "suspended"
    with pytest.raises(Conflict, match="is suspended"):
        projects.require_open_for(book, suspended, "researcher.lau")
    assert resume_project(book, DRAFT.id, "steward.ng").state == "suspended"
    with pytest.raises(Forbidden, match="different person"):
        resume_project(book, DRAFT.id, "au.ng", other_names=("steward.ng",))
    resumed = resume_project(book, DRAFT.id, "auditor.tse")
    projects.require_open_for(book, resumed, "researcher.lau")
    assert [(e.who, e.action, e.after) for e in book.events(DRAFT.id)][-3:] == [
        ("steward.ho", "suspend", "suspended"),
        ("steward.ng", "resume", "suspended"),
        ("auditor.tse", "resume", "open"),
    ]


def test_a_second_suspension_needs_two_people_anew(book: Register) -> None:
    suspend_project(book, DRAFT.id, "steward.ho", WHY)
    resume_project(book, DRAFT.id, "steward.ng")
    resume_project(book, DRAFT.id, "auditor.tse")

    suspend_project(book, DRAFT.id, "steward.ho", WHY)

    assert resume_project(book, DRAFT.id, "steward.ng").state == "suspended"


def test_nobody_decides_on_a_project_of_their_own_nor_suspends_without_a_reason(
    book: Register,
) -> None:
    with pytest.raises(Forbidden):
        suspend_project(book, DRAFT.id, "st.lau", WHY, other_names=("researcher.lau",))
    with pytest.raises(Unprocessable):
        suspend_project(book, DRAFT.id, "steward.ho", " ")
    with pytest.raises(Conflict, match="is open"):
        resume_project(book, DRAFT.id, "steward.ng")
    suspend_project(book, DRAFT.id, "steward.ho", WHY)

    with pytest.raises(Conflict, match="is suspended"):
        suspend_project(book, DRAFT.id, "steward.ho", WHY)
    with pytest.raises(Forbidden):
        resume_project(book, DRAFT.id, "st.lau", other_names=("researcher.lau",))


def test_a_suspended_project_is_closed_with_its_key(book: Register) -> None:
    suspend_project(book, DRAFT.id, "steward.ho", WHY)

    assert projects.close_project(book, DRAFT.id, "steward.ng").state == "closed"

    assert not projects.project_key_path(book.data, DRAFT.id).exists()
    with pytest.raises(Conflict, match="is closed"):
        resume_project(book, DRAFT.id, "steward.ng")


def test_a_release_in_flight_stops_at_its_next_step(book: Register) -> None:
    cells = [count_persons(book, DRAFT.id, write_persons(book.data, 60)[:40])]
    run = store_run(book, "run-1", cells, DRAFT.id, DRAFT.applicant)

    def refused(step: str, login: str) -> None:
        suspend_project(book, DRAFT.id, "steward.ho", WHY)
        with pytest.raises(Conflict, match="nothing of it leaves"):
            take(step, login)
        resume_project(book, DRAFT.id, "steward.ng")
        resume_project(book, DRAFT.id, "auditor.tse")
        take(step, login)

    def take(step: str, login: str) -> None:
        if step == "propose":
            airlock.propose_outputs(book, run, login)
        elif step == "approve":
            airlock.record_decision(book, run, login, "approve", "No small cell.")
        else:
            airlock.release_outputs(book, run, login)

    refused("propose", "researcher.lau")
    refused("approve", "steward.ng")
    take("approve", "auditor.tse")
    refused("release", "steward.ng")
    assert (book.folder / "released" / DRAFT.id / run / "controls.json").exists()
