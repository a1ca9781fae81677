"""A research project for tests: its people, its steps, a clock that stands still."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

from ehr_analytics import project as projects
from ehr_analytics.demo import DATA_ITEMS
from ehr_analytics.people import Person, Platform
from ehr_analytics.project import Project
from ehr_analytics.project_dates import ProjectDates
from ehr_analytics.register import Register
from tests.lib.training import train

# Of tables without dates.
DATES = ProjectDates("shift", "a" * 64, "b" * 64)
NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)

DRAFT = Project(
    id="acute-returns",
    title="Returns",
    purpose="Who comes back?",
    applicant="researcher.lau",
    ethics="REC-1",
    items=DATA_ITEMS,
    people=("researcher.lau", "researcher.mok"),
    period_from=date(2026, 11, 1),
    # Also a register with the clock of the machine finds it open.
    period_to=date(2099, 10, 31),
    dates="shift",
)


def register(data: Path, now: datetime = NOW) -> Register:
    """Return a register whose clock stands still."""
    return Register(data, clock=lambda: now)


def find_anybody(data: Path, login: str, roles: Collection[str]) -> Person:
    """Return anybody as a person with one account: for commands without a platform's accounts."""
    return Person(login, frozenset({login}))


# For commands that count a lake made by hand: it knows of no decision, and nobody's changed.
ANY_PLATFORM = Platform(
    find_anybody, lambda data: nullcontext(lambda number, epoch: []), lambda data: ()
)


def open_project(register: Register, **changes: object) -> Project:
    """Take a project through every state up to open; its people are trained.

    Its key is always the same: the pseudonyms decide which of several cells are hidden.
    """
    # The keyword arguments are fields of Project; a wrong one fails in `replace`.
    draft = projects.create_project(register, replace(DRAFT, **changes))  # type: ignore[arg-type]
    train(register, *draft.people)
    projects.submit_project(register, draft.id, draft.applicant)
    projects.approve_project(register, draft.id, "steward.ng")
    projects.approve_project(register, draft.id, "auditor.tse")
    opened = projects.open_project(register, draft.id, "steward.ng")
    key = sha256(f"{opened.id} key".encode()).hexdigest()
    projects.project_key_path(register.data, opened.id).write_text(key, "ascii")
    return opened
