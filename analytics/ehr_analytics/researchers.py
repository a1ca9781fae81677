"""Researchers' affiliation and training: what a data steward recorded, and who may work by it.

Records are added and never changed. The newest of each course counts, and every course on record
has to hold: one that was recorded by mistake is withdrawn. A person is who tokens name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

from ehr_analytics.register import Register
from ehr_fhir.errors import Forbidden, NotFound, Unprocessable

__all__ = [
    "Researcher",
    "Training",
    "list_researchers",
    "record_training",
    "require_trained",
    "withdraw_training",
]


@dataclass(frozen=True)
class Training:
    """A course, the day it was taken, and the first day on which it holds no more."""

    course: str
    day: date
    expires: date


@dataclass(frozen=True)
class Researcher:
    """A person, their affiliation as last recorded, their trainings by the day they expire."""

    person: str
    affiliation: str
    trainings: tuple[Training, ...]


def record_training(
    register: Register,
    person: str,
    affiliation: str,
    training: Training,
    login: str,
    *,
    other_names: Collection[str] = (),
) -> Researcher:
    """Record a course that somebody else took; Unprocessable names what is wrong with it."""
    _require_somebody_else(person, {login, *other_names})
    if not training.course.strip() or not affiliation.strip():
        raise Unprocessable("The record of a training has a course and an affiliation.")
    if training.day > register.clock().date():
        raise Unprocessable("A training is recorded after it was taken.", expression="day")
    if training.expires <= training.day:
        raise Unprocessable("A training expires after it was taken.", expression="expires")
    with register.transaction() as connection:
        _append_record(register, connection, (person, affiliation), training, login)
        return _read_researchers(connection)[person]


def withdraw_training(
    register: Register,
    person: str,
    course: str,
    login: str,
    *,
    other_names: Collection[str] = (),
) -> Researcher:
    """Take a course off somebody else's record, such as one that was recorded by mistake."""
    _require_somebody_else(person, {login, *other_names})
    with register.transaction() as connection:
        known = _read_researchers(connection).get(person)
        for training in known.trainings if known else ():
            if known and training.course == course:
                named = (person, known.affiliation)
                _append_record(register, connection, named, training, login, withdrawn=True)
                return _read_researchers(connection)[person]
    raise NotFound("This person has no such training on record.")


def list_researchers(register: Register) -> Mapping[str, Researcher]:
    """Return everybody of whom a training was ever recorded, by person."""
    with register.transaction() as connection:
        return _read_researchers(connection)


def require_trained(register: Register, names: Collection[str]) -> None:
    """Refuse somebody, by all their names, without a training or with one that has expired."""
    known = list_researchers(register)
    trainings = [each for name in names if name in known for each in known[name].trainings]
    if not trainings:
        raise Forbidden(
            "No training of yours is on record: a data steward records it before you work with "
            "the data of a project."
        )
    first = min(trainings, key=lambda training: training.expires)
    if first.expires <= register.clock().date():
        raise Forbidden(
            f"Your training {first.course!r} expired on {first.expires}: take it again, and let "
            "a data steward record it."
        )


def _require_somebody_else(person: str, names: Collection[str]) -> None:
    if person in names:
        raise Forbidden("Nobody records a training of their own.")


def _append_record(
    register: Register,
    connection: sqlite3.Connection,
    named: tuple[str, str],
    training: Training,
    login: str,
    *,
    withdrawn: bool = False,
) -> None:
    connection.execute(
        "INSERT INTO training(person, affiliation, course, day, expires, withdrawn, who, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *named,
            training.course,
            training.day.isoformat(),
            training.expires.isoformat(),
            withdrawn,
            login,
            register.timestamp(),
        ),
    )


def _read_researchers(connection: sqlite3.Connection) -> dict[str, Researcher]:
    affiliations: dict[str, str] = {}
    courses: dict[str, dict[str, Training]] = {}
    # The newest record of a course replaces those before it.
    for row in connection.execute("SELECT * FROM training ORDER BY seq"):
        affiliations[row["person"]] = row["affiliation"]
        own = courses.setdefault(row["person"], {})
        own.pop(row["course"], None)
        if not row["withdrawn"]:
            days = (date.fromisoformat(row[name]) for name in ("day", "expires"))
            own[row["course"]] = Training(row["course"], *days)
    return {
        person: Researcher(
            person,
            affiliation,
            tuple(sorted(courses[person].values(), key=lambda each: (each.expires, each.course))),
        )
        for person, affiliation in sorted(affiliations.items())
    }
