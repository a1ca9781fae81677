"""Releases: what is asked for, what the rules hide, who decides, as the gateway tells of it."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import MultiPartParameter, parse_multi_parts
from ehr_portal.i18n import N_

__all__ = ["CellTable", "Release", "build_tables", "parse_releases"]

STATE_TITLES = {
    "waiting": N_("Waits for two people"),
    "refused": N_("Refused by a check"),
    "returned": N_("Kept inside"),
    "released": N_("Released"),
}
STATE_COLOURS = {"waiting": "yellow", "refused": "red", "returned": "grey", "released": "green"}
ACTION_TITLES = {
    "request": N_("Release asked for"),
    "ask": N_("Question"),
    "answer": N_("Answer"),
    "approve": N_("Approved"),
    "return": N_("Not released"),
    "release": N_("Released"),
}
RULE_TITLES = {
    "threshold": N_("Too few people"),
    "zero": N_("Nobody"),
    "dominance": N_("Most of it is from one or two people"),
    "p-percent": N_("One person's amount could be worked out"),
    "one-sided": N_("Everybody has it, or all but a few"),
    "degrees-of-freedom": N_("Too few people for a model"),
    "not-its-value": N_("The number is not what its people give"),
    "no-contributions": N_("Nothing tells who gives how much"),
    "needs-people": N_("Only people may release it"),
    "never": N_("It is one person's value"),
    "secondary": N_("Others could be worked out from it"),
    "differencing": N_("An earlier release and this one differ by too few people"),
}
RULE_MEANINGS = {
    "threshold": N_("Fewer people than the policy shows."),
    "zero": N_("Nobody, which tells it of everybody in the group."),
    "dominance": N_("One or two people give most of the sum."),
    "p-percent": N_("One person can tell another's amount too closely."),
    "one-sided": N_("Everybody of the group has it, which tells it of each of them."),
    "degrees-of-freedom": N_("A model on too few people."),
    "not-its-value": N_("The value is not what the people behind it give."),
    "no-contributions": N_("Nothing tells how much each person gives."),
    "needs-people": N_("No rule knows this kind of number: people judge it."),
    "never": N_("This kind of number is not released."),
    "secondary": N_("Hidden so that another hidden cell cannot be worked out."),
    "differencing": N_("It differs from another number by fewer people than the policy shows."),
}
CHECK_TITLES = {
    "not empty": N_("There is something to release"),
    "file type": N_("The kind of file"),
    "size": N_("The size of the file"),
    "image": N_("The picture holds nothing else"),
    "row limit": N_("How many rows there are"),
    "column names": N_("The names of columns"),
    "values": N_("The values: no id, date or reference"),
    "small cells": N_("Small numbers"),
    "digits": N_("How exact the numbers are"),
    "linear programs": N_("Whether a hidden cell can be worked out"),
}
# The record of a release's controls, beside its files.
RECORD_FILE = "controls.json"


@dataclass(frozen=True)
class ReleaseFile:
    """One file; `cells` and `hidden` are None for what has no cells."""

    name: str
    media: str
    bytes: int
    sha256: str
    cells: int | None
    hidden: int | None

    @property
    def is_picture(self) -> bool:
        """Whether it can be looked at in the page."""
        return self.media.startswith("image/")


@dataclass(frozen=True)
class Check:
    """One automatic check."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Rule:
    """One rule that hides cells of this release."""

    name: str
    cells: int
    meaning: str


@dataclass(frozen=True)
class Event:
    """One step on record."""

    at: str
    who: str
    action: str
    reason: str

    @property
    def title(self) -> str:
        """The step in words, still to translate."""
        return ACTION_TITLES.get(self.action, self.action)


@dataclass(frozen=True)
class Release:
    """A release that was asked for."""

    id: str
    project: str
    title: str
    run: str
    # Output of a study's own code or SQL, which no rule can vouch for.
    is_unsafe: bool
    state: str
    asked: str
    by: str
    note: str
    files: tuple[ReleaseFile, ...]
    checks: tuple[Check, ...]
    rules: tuple[Rule, ...]
    # Who approved it so far.
    checkers: tuple[str, ...]
    events: tuple[Event, ...]
    # Of all files, which an approval names.
    digest: str = ""

    @property
    def state_title(self) -> str:
        """The state in words, still to translate."""
        return STATE_TITLES.get(self.state, self.state)

    @property
    def state_colour(self) -> str:
        """The colour of the state's tag."""
        return STATE_COLOURS.get(self.state, "grey")

    @property
    def has_open_question(self) -> bool:
        """Whether a checker's question has no answer yet."""
        talk = [event.action for event in self.events if event.action in ("ask", "answer")]
        return bool(talk) and talk[-1] == "ask"

    @property
    def failed_checks(self) -> list[Check]:
        """The automatic checks that failed."""
        return [check for check in self.checks if not check.passed]

    @property
    def passed_checks(self) -> list[Check]:
        """The automatic checks that passed."""
        return [check for check in self.checks if check.passed]

    def find_file(self, name: str) -> ReleaseFile | None:
        """Return the file of a name."""
        return next((file for file in self.files if file.name == name), None)


@dataclass(frozen=True)
class TableCell:
    """A cell as it would leave, or the rule that hides it."""

    row: str
    column: str
    shown: str
    rule: str
    meaning: str


@dataclass(frozen=True)
class CellTable:
    """A file of a release as its checkers see it: each cell, the hidden ones among the others."""

    file: str
    cells: tuple[TableCell, ...]

    @property
    def hidden(self) -> int:
        """How many cells are hidden."""
        return sum(bool(cell.rule) for cell in self.cells)


def parse_releases(answer: Resource) -> list[Release]:
    """Return the releases of the answer of `$research-releases`, the oldest first."""
    releases = [_parse_release(part) for part in parse_multi_parts(answer, "release")]
    return sorted(releases, key=lambda release: release.asked)


def build_tables(answer: Resource) -> list[CellTable]:
    """Return the tables of the answer of `$release-evidence`, cells in its order."""
    cells: dict[str, list[TableCell]] = {}
    for cell in parse_multi_parts(answer, "cell"):
        known = TableCell(cell.row, cell.column, cell.shown, cell.rule, cell.meaning)
        cells.setdefault(cell.file, []).append(known)
    return [CellTable(file, tuple(of_file)) for file, of_file in cells.items()]


def _parse_release(part: MultiPartParameter) -> Release:
    return Release(
        id=part.id,
        project=part.project,
        title=part.title or part.run,
        run=part.run,
        is_unsafe=part.unsafe == "true",
        state=part.state,
        asked=part.asked,
        by=part.by,
        note=part.note,
        files=tuple(map(_parse_file, part.parse_parts("file"))),
        checks=tuple(
            Check(check.name, check.passed == "true", check.detail)
            for check in part.parse_parts("check")
        ),
        rules=tuple(
            Rule(rule.name, int(rule.cells or 0), rule.meaning) for rule in part.parse_parts("rule")
        ),
        checkers=tuple(part.values.get("checker", ())),
        events=tuple(
            Event(event.at, event.who, event.action, event.reason)
            for event in part.parse_parts("event")
        ),
        digest=part.digest,
    )


def _parse_file(part: MultiPartParameter) -> ReleaseFile:
    return ReleaseFile(
        name=part.name,
        media=part.media,
        bytes=int(part.bytes or 0),
        sha256=part.sha256,
        cells=int(part.cells) if part.cells else None,
        hidden=int(part.hidden) if part.hidden else None,
    )
