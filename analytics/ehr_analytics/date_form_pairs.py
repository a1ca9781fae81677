"""Two forms of dates of the same patients, and what extracts of both tell together.

A shift keeps intervals, and a month or quarter is a true one: whoever has both joins the patients
by their intervals and undoes the shift. So nobody works under both; of projects that share nobody
the approvers read how far the pair would carry if their people worked together against the rules.
It is about projects whose people read rows: of others only controlled tables leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from ehr_privacy.deid import DateForm

__all__ = ["SHARE_UNDONE", "CombinedForms", "find_combined_forms", "find_shared_form"]

# Pair of forms -> the share of people all of whose true days follow from extracts of both, as
# measured in `tests/unit/analytics/test_project_date_attacks.py` on 80 made-up people.
SHARE_UNDONE: Mapping[frozenset[str], float] = MappingProxyType(
    {frozenset({"shift", "month"}): 0.9, frozenset({"shift", "quarter"}): 0.59}
)
# States in which a project's people have, or may have kept, extracts of it.
_DECIDED = frozenset({"approved", "open", "suspended", "closed"})


class DatedProject(Protocol):
    """What of a project decides with which others it may be."""

    @property
    def id(self) -> str: ...
    @property
    def applicant(self) -> str: ...
    @property
    def people(self) -> tuple[str, ...]: ...
    @property
    def state(self) -> str: ...
    @property
    def dates(self) -> DateForm: ...
    @property
    def may_read_rows(self) -> bool: ...


@dataclass(frozen=True)
class CombinedForms:
    """Another project, its form of dates, what both tell together, and whether people are shared.

    `share_undone` is the share of patients all of whose true days would be known.
    """

    project: str
    dates: str
    share_undone: float
    has_shared_people: bool


def find_combined_forms(
    project: DatedProject, others: Iterable[DatedProject]
) -> list[CombinedForms]:
    """Return the approved projects whose form of dates undoes a shift together with this one's."""
    if not project.may_read_rows:
        return []
    people = {project.applicant, *project.people}
    return [
        CombinedForms(
            other.id,
            other.dates,
            SHARE_UNDONE[pair],
            not people.isdisjoint({other.applicant, *other.people}),
        )
        for other in others
        if other.id != project.id
        and other.state in _DECIDED
        and other.may_read_rows
        and (pair := frozenset({project.dates, other.dates})) in SHARE_UNDONE
    ]


def find_shared_form(project: DatedProject, others: Iterable[DatedProject]) -> str | None:
    """Return why a project may not go on with its form of dates; None if it may."""
    for found in find_combined_forms(project, others):
        if found.has_shared_people:
            return (
                f"The forms of dates {project.dates} and {found.dates} together give true days"
                f" away, and somebody works in this project and in {found.project}: choose"
                f" {found.dates} here too, or other researchers."
            )
    return None
