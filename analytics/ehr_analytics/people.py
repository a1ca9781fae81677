"""Who takes a step of research: a person with all their names, and the roles that may take it.

The accounts are the gateway's, which this package does not know, and so are patients' decisions:
`ehr` hands its commands what looks a log-in up, and whose decision changed. Without it no step is
taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from ehr_fhir.errors import Unavailable, Unprocessable

__all__ = [
    "APPLICANT_ROLES",
    "APPROVER_ROLES",
    "RECORDER_ROLES",
    "FindPerson",
    "Person",
    "Platform",
    "find_person",
    "get_platform",
]

# The same as of `$apply-research` and `$decide-research`; a test compares them.
APPLICANT_ROLES = frozenset({"researcher", "clinician"})
APPROVER_ROLES = frozenset({"steward", "auditor"})
# Who suspends a project and records training, as of `$decide-research` and `$record-training`.
RECORDER_ROLES = frozenset({"steward"})


@dataclass(frozen=True)
class Person:
    """A person: the name by which a step is recorded, and the names of all their accounts."""

    name: str
    names: frozenset[str]

    @property
    def all_names(self) -> frozenset[str]:
        """The names of all accounts, with that by which a step is recorded."""
        return self.names | {self.name}


# Data folder, log-in, roles -> the person. NotFound without an enabled account of that log-in,
# Forbidden if it is of another role.
FindPerson = Callable[[Path, str, Collection[str]], Person]

# A number of the gateway's feed and its epoch -> type and id of what changed after it.
ChangedSubjects = Callable[[int, str], Iterable[tuple[str, str]]]


@dataclass(frozen=True)
class Platform:
    """What commands on a data folder ask of the gateway's store."""

    find_person: FindPerson
    # Data folder -> what tells whose decision changed after the last one that the lake applied.
    open_changes: Callable[[Path], AbstractContextManager[ChangedSubjects]]
    # Data folder -> the decisions about models that the audit log has, as its leaves tell them.
    read_model_decisions: Callable[[Path], Sequence[Mapping[str, Any]]]


def find_person(context: typer.Context, data: Path, login: str, roles: Collection[str]) -> Person:
    """Return who has a log-in of one of some roles, as the command's caller looks it up."""
    if not login:
        raise Unprocessable("Say who takes the step: --as LOGIN; or go through --gateway.")
    return get_platform(context).find_person(data, login, roles)


def get_platform(context: typer.Context) -> Platform:
    """Return what a command may ask of the gateway's store."""
    platform: Platform | None = context.find_root().obj
    if platform is None:
        raise Unavailable("Who takes the step cannot be known here: take it by the command `ehr`.")
    return platform
