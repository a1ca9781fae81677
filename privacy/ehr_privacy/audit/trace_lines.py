"""The lines of a trace: which step, whether it is so, and the code of what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["MESSAGES", "State", "TraceLine", "build_line"]

State = Literal["shown", "gap", "fault"]

# What a trace says, in English; who shows it in another language translates these by their codes.
MESSAGES: Mapping[str, str] = {
    "signed": "%(events)s events of %(log)s are signed for",
    "told": "%(text)s",
    "no-leaf": "step %(step)s has no leaf in the log",
    "other-project": "a step of another project stands here",
    "other-record": "the leaf has the name of another record",
    "not-signed": "its leaf is not signed for yet",
    "changed": "what it says is not what was signed for: it was changed",
    "same-step": "two leaves are step %(step)s of the register",
    "late-step": "step %(step)s came into the log after step %(other)s",
    "not-released": "no leaf says that %(run)s was released",
    "released": "%(run)s was released by %(who)s at %(at)s",
    "released-without-files": "%(run)s was released by %(who)s at %(at)s; its leaf names no files",
    "other-files-released": "the files that were released are others",
    "not-checked": "no leaf says that its checks passed",
    "checked": "its checks passed at %(at)s under %(policy)s",
    "checked-without-files": (
        "its checks passed at %(at)s under %(policy)s; its leaf names no files"
    ),
    "other-files-checked": "other files were checked than were released",
    "not-run": "no leaf says that %(run)s ran",
    "ran": "%(who)s ran it at %(at)s, code %(code)s",
    "approved": "%(who)s approved its files at %(at)s",
    "own-approval": "who ran it approved it",
    "few-approvals": (
        "%(people)s people approved it between the checks and the release, of %(needed)s"
    ),
    "project-approved": (
        "%(who)s approved project %(project)s at %(at)s, application %(application)s"
    ),
    "few-project-approvals": (
        "no %(needed)s leaves of different people approve the project before the run"
    ),
    "different-applications": "its approvers approved different applications",
    "project-state": "the project was %(state)s when it ran",
    "no-tables": "the run does not say which tables it read",
    "table-made": (
        "%(table)s version %(version)s was made of the feed of %(store)s up to position "
        "%(position)s and decision %(decision)s; digest %(digest)s"
    ),
    "table-passed": (
        "%(table)s version %(version)s was made of the feed of %(store)s up to position "
        "%(position)s and decision %(decision)s; it was passed through on the way to "
        "version %(next)s"
    ),
    "table-without-digest": (
        "%(table)s version %(version)s was made of the feed of %(store)s up to position "
        "%(position)s and decision %(decision)s; the run did not keep its digest"
    ),
    "other-table": (
        "%(table)s version %(version)s was another when it was read than when it was made"
    ),
    "table-unknown": "no leaf here says what made %(table)s %(version)s",
    "rules": "the rules, keys and views: %(digest)s",
    # What the platform itself, or a folder of files, holds against the log.
    "event-restored": (
        "event %(event)s of the register is not there since a restore that is on record"
    ),
    "event-changed": "event %(event)s of the register was changed or removed",
    "event-put-in": "event %(event)s of the register was changed or put in: it has no leaf",
    "events-whole": "all %(events)s events of the register are as the log has them",
    "file-gone": "%(file)s is not there any more",
    "file-changed": "%(file)s is not what was released",
    "file-same": "%(file)s is as released",
    "files-same": "%(same)s of %(all)s files are as released",
    "table-same": "%(table)s version %(version)s is as the run read it",
    "table-changed": "%(table)s version %(version)s is not what the run read: it was changed",
    "persons-erased": "%(places)s places in sets of persons were erased since the release",
    "persons-same": "the sets of persons are those of the release",
    "persons-changed": "a set of persons was changed",
}


@dataclass(frozen=True)
class TraceLine:
    """One line of a trace: which part of the chain, what is so, and the index of its leaf."""

    part: str
    state: State
    # A code of MESSAGES, and what stands in it.
    message: str
    leaf: int | None = None
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The line in English."""
        return MESSAGES[self.message] % self.values


def build_line(
    part: str, state: State, message: str, leaf: int | None = None, /, **values: object
) -> TraceLine:
    """Return a line whose message has values."""
    return TraceLine(part, state, message, leaf, {name: str(values[name]) for name in values})
