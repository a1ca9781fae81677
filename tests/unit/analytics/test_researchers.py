"""Who may work by their training, as a steward recorded it."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ehr_analytics import airlock
from ehr_analytics import project as projects
from ehr_analytics.researchers import (
    Training,
    list_researchers,
    record_training,
    require_trained,
    withdraw_training,
)
from ehr_fhir.errors import Forbidden, NotFound, Unprocessable
from tests.lib.released_cells import count_persons, store_run, write_persons
from tests.lib.research import DRAFT, open_project, register
from tests.lib.training import train

EXPIRES = date(2027, 3, 1)


@pytest.mark.parametrize(("day", "works"), [(27, True), (28, True), (1, False), (2, False)])
def test_somebody_works_until_the_day_their_training_expires(
    tmp_path: Path, day: int, works: bool
) -> None:
    opened = open_project(register(tmp_path))
    train(register(tmp_path), "researcher.mok", expires=EXPIRES)
    then = register(tmp_path, datetime(2027, 2 if day > 20 else 3, day, tzinfo=UTC))

    if works:
        projects.require_open_for(then, opened, "researcher.mok")
    else:
        with pytest.raises(Forbidden, match="expired on 2027-03-01"):
            projects.require_open_for(then, opened, "researcher.mok")
    projects.require_open_for(then, opened, "researcher.lau")


def test_nobody_works_without_a_training_and_one_under_another_name_of_theirs_counts(
    tmp_path: Path,
) -> None:
    book = register(tmp_path)

    with pytest.raises(Forbidden, match="No training of yours is on record"):
        require_trained(book, {"lau"})
    train(book, "researcher.lau")
    require_trained(book, {"lau", "researcher.lau"})
    # What has expired under one name is not made good by another account.
    train(book, "lau", expires=date(2026, 11, 22))
    with pytest.raises(Forbidden, match="expired on 2026-11-22"):
        require_trained(book, {"lau", "researcher.lau"})


def test_every_course_has_to_hold_and_the_newest_record_of_each_counts(tmp_path: Path) -> None:
    book, taken = register(tmp_path), date(2026, 1, 5)
    record_training(book, "lau", "HKU", Training("Ethics", taken, date(2028, 1, 5)), "ng")
    record_training(book, "lau", "HKU", Training("Privacy", taken, date(2026, 6, 1)), "ng")

    with pytest.raises(Forbidden, match="Privacy"):
        require_trained(book, {"lau"})
    record_training(book, "lau", "CUHK", Training("Privacy", taken, date(2027, 6, 1)), "ng")
    require_trained(book, {"lau"})

    known = list_researchers(book)["lau"]
    assert known.affiliation == "CUHK"
    assert [each.course for each in known.trainings] == ["Privacy", "Ethics"]


def test_a_course_recorded_by_mistake_is_withdrawn(tmp_path: Path) -> None:
    book = register(tmp_path)
    train(book, "lau", expires=date(2026, 11, 1))

    after = withdraw_training(book, "lau", "Research data", "ng")

    assert (after.affiliation, after.trainings) == ("University of Kowloon", ())
    for person, course in (("lau", "Research data"), ("mok", "Research data")):
        with pytest.raises(NotFound):
            withdraw_training(book, person, course, "ng")


@pytest.mark.parametrize(
    "training",
    [
        Training(" ", date(2026, 1, 1), date(2027, 1, 1)),
        Training("Ethics", date(2026, 11, 23), date(2027, 1, 1)),
        Training("Ethics", date(2026, 1, 1), date(2026, 1, 1)),
    ],
)
def test_a_training_has_a_name_was_taken_and_expires_after(
    tmp_path: Path, training: Training
) -> None:
    with pytest.raises(Unprocessable):
        record_training(register(tmp_path), "lau", "HKU", training, "ng")

    assert list_researchers(register(tmp_path)) == {}


def test_nobody_records_their_own_training_by_any_account(tmp_path: Path) -> None:
    book = register(tmp_path)
    training = Training("Ethics", date(2026, 1, 1), date(2027, 1, 1))

    for person, names in (("st.lau", ()), ("lau", ("lau",))):
        with pytest.raises(Forbidden, match="their own"):
            record_training(book, person, "HKU", training, "st.lau", other_names=names)
    train(book, "lau")
    with pytest.raises(Forbidden, match="their own"):
        withdraw_training(book, "lau", "Research data", "st.lau", other_names=("lau",))


def test_records_of_training_are_neither_changed_nor_removed(tmp_path: Path) -> None:
    book = register(tmp_path)
    train(book, "lau")

    for statement in ("UPDATE training SET expires = '2099-01-01'", "DELETE FROM training"):
        with pytest.raises(sqlite3.IntegrityError), book.transaction() as connection:
            connection.execute(statement)


def test_a_researcher_whose_training_expired_proposes_no_release(tmp_path: Path) -> None:
    people = write_persons(tmp_path, 60)
    book = register(tmp_path)
    open_project(book)
    cells = [count_persons(book, DRAFT.id, people[:40])]
    run = store_run(book, "run-1", cells, DRAFT.id, DRAFT.applicant)
    train(book, "researcher.lau", expires=date(2026, 11, 1))

    with pytest.raises(Forbidden, match="expired"):
        airlock.propose_outputs(book, run, DRAFT.applicant)
    assert airlock.propose_outputs(book, run, "steward.ng").passed
