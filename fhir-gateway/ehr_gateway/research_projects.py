"""The port by which operations reach research projects, which the gateway itself does not know.

`ehr_cli` composes them. The operations decide which roles may call; whoever implements this
decides which steps a project's state, its applicant and its approvers allow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = [
    "CatalogueColumn",
    "CatalogueTable",
    "CombinedDates",
    "ProjectApplication",
    "ProjectEvent",
    "ResearchProject",
    "ResearchProjects",
    "Researcher",
    "Training",
]


@dataclass(frozen=True)
class ProjectApplication:
    """What an applicant writes. Items are `view.column`; days are ISO dates, both included."""

    id: str
    title: str
    purpose: str
    ethics: str
    items: tuple[str, ...]
    # View -> why its columns are needed.
    justifications: Mapping[str, str]
    # Log-ins of those who will work with the data.
    people: tuple[str, ...]
    first_day: str
    last_day: str
    # The form in which dates are read, from what tells least: quarter, month, episode or shift.
    dates: str = "quarter"
    # How many persons have to have a code that is read as it is; 0: the number of the rules.
    rare_code_persons: int = 0


@dataclass(frozen=True)
class ProjectEvent:
    """One step on record: an ISO instant, who, what, the state after it, the reason given."""

    at: str
    who: str
    action: str
    after: str
    reason: str


@dataclass(frozen=True)
class Training:
    """A course, the ISO day it was taken, and the first day on which it holds no more."""

    course: str
    day: str
    expires: str


@dataclass(frozen=True)
class Researcher:
    """Somebody who works with data: affiliation and training on record, their projects' ids.

    Closed projects are left out. The affiliation is empty where nothing was ever recorded.
    """

    person: str
    affiliation: str
    trainings: tuple[Training, ...]
    projects: tuple[str, ...]


@dataclass(frozen=True)
class CombinedDates:
    """A project whose form of dates, together with another one's, gives true days away.

    `share_undone` is the share of patients all of whose true days follow, as measured.
    """

    project: str
    dates: str
    share_undone: float
    has_shared_people: bool


@dataclass(frozen=True)
class ResearchProject:
    """A project: its application, its state and who approved it."""

    application: ProjectApplication
    # Types of the resources that its views are made of.
    resources: tuple[str, ...]
    applicant: str
    # draft, submitted, approved, open, suspended or closed
    state: str
    approvers: tuple[str, ...]
    events: tuple[ProjectEvent, ...]
    # Whether the key by which its pseudonyms are made is there.
    has_key: bool
    # SHA-256 of the application and its policy, which an approval names.
    digest: str
    # For those who decide: approved projects with which it would give true days away.
    combined_dates: tuple[CombinedDates, ...] = ()


@dataclass(frozen=True)
class CatalogueColumn:
    """One column that a project may ask for."""

    name: str
    type: str
    unit: str
    meaning: str
    # Language tag -> the meaning in it, beside the English one.
    translations: Mapping[str, str]


@dataclass(frozen=True)
class CatalogueTable:
    """One view; `rows` is rounded, None where there are too few to tell or none yet."""

    view: str
    resource: str
    rows: int | None
    columns: tuple[CatalogueColumn, ...]


class ResearchProjects(Protocol):
    """Projects of the platform. Errors are those of `ehr_fhir.errors`."""

    def list_projects(self) -> Sequence[ResearchProject]:
        """Return all projects by id."""

    def save_draft(self, applicant: str, application: ProjectApplication) -> ResearchProject:
        """Write a new draft, or replace the applicant's own."""

    def submit(self, applicant: str, project: str) -> ResearchProject:
        """Hand a draft in for approval."""

    def decide(
        self,
        person: str,
        other_names: Collection[str],
        project: str,
        decision: str,
        reason: str,
        *,
        digest: str | None = None,
    ) -> ResearchProject:
        """Approve, return, open, suspend, resume or close a project.

        Two accounts of a person are one approver. An approval names the digest of the application
        that was read; Conflict when it is another by now.
        """

    def list_researchers(self) -> Sequence[Researcher]:
        """Return everybody with a training on record, or in a project that is not closed."""

    def record_training(
        self,
        person: str,
        affiliation: str,
        training: Training,
        recorded_by: str,
        other_names: Collection[str],
    ) -> Researcher:
        """Record a training; the names are those of who records it, for it is not their own."""

    def withdraw_training(
        self, person: str, course: str, withdrawn_by: str, other_names: Collection[str]
    ) -> Researcher:
        """Take a course off somebody's record."""

    def list_tables(self) -> Sequence[CatalogueTable]:
        """Return the catalogue by view."""
