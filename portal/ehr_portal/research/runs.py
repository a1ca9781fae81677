"""Runs of a project, the counts of a cohort, and their steps, as the gateway tells of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import MultiPartParameter, parse_multi_parts, parse_values
from ehr_portal.i18n import N_

__all__ = [
    "Counts",
    "LogLine",
    "Run",
    "RunPage",
    "Step",
    "parse_counts",
    "parse_run_page",
    "parse_runs",
    "word_step",
]

STATE_TITLES = {
    "queued": N_("Waits for its turn"),
    "running": N_("Is running"),
    "ended": N_("Finished"),
    "failed": N_("Failed"),
}
STATE_COLOURS = {"queued": "grey", "running": "blue", "ended": "green", "failed": "red"}
# What a cohort's steps are called in every definition.
_STEP_TITLES = {
    "in the data": N_("People in the data"),
    "population": N_("In the population"),
    "index event": N_("Have the index event"),
    "whole follow-up": N_("Are followed to the end"),
}
_STEP_PREFIXES = {"with ": N_("With: %(what)s"), "without ": N_("Without: %(what)s")}
# Ages as the form of a cohort names them.
_AGES = (
    (re.compile(r"age (?P<low>\d+) or more"), N_("age %(low)s or more")),
    (re.compile(r"age (?P<high>\d+) or less"), N_("age %(high)s or less")),
    (re.compile(r"age (?P<low>\d+) to (?P<high>\d+)"), N_("age %(low)s to %(high)s")),
)


@dataclass(frozen=True)
class Step:
    """A step of a cohort, and how many people were left after it: rounded, None where hidden."""

    name: str
    people: int | None


@dataclass(frozen=True)
class Counts:
    """The answer to one question for counts, and how many more may be asked."""

    steps: tuple[Step, ...]
    left: int
    limit: int
    # The instant at which more may be asked.
    until: str


@dataclass(frozen=True)
class LogLine:
    """One line that the platform wrote about a run."""

    at: str
    text: str


@dataclass(frozen=True)
class Run:
    """One run of a project; instants are FHIR's."""

    id: str
    project: str
    # `cohort-study` or `code`.
    kind: str
    title: str
    who: str
    state: str
    asked: str
    started: str
    ended: str
    # Why it failed, in a sentence that is safe to read.
    fault: str
    log: tuple[LogLine, ...]
    # Name and Delta version of the tables that it read.
    tables: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    definition: str
    # The files that own code writes.
    outputs: tuple[str, ...]
    # The id of the release that was asked for, if one was.
    release: str

    @property
    def state_title(self) -> str:
        """The state in words, still to translate."""
        return STATE_TITLES.get(self.state, self.state)

    @property
    def state_colour(self) -> str:
        """The colour of the state's tag."""
        return STATE_COLOURS.get(self.state, "grey")


def parse_counts(answer: Resource) -> Counts:
    """Return the counts of the answer of `$research-count`."""
    values = parse_values(answer)
    return Counts(
        steps=_parse_steps(parse_multi_parts(answer, "step")),
        left=int(values["left"][0]),
        limit=int(values["limit"][0]),
        until=values.get("until", [""])[0],
    )


@dataclass(frozen=True)
class RunPage:
    """Runs, the newest first, and the cursor of the next page; empty where nothing is older."""

    runs: tuple[Run, ...]
    next_cursor: str


def parse_run_page(answer: Resource) -> RunPage:
    """Return a page of the answer of `$research-runs`."""
    return RunPage(tuple(parse_runs(answer)), parse_values(answer).get("next", [""])[0])


def parse_runs(answer: Resource) -> list[Run]:
    """Return the runs of the answer of `$research-runs`, the newest first."""
    runs = [_parse_run(part) for part in parse_multi_parts(answer, "run")]
    return sorted(runs, key=lambda run: run.asked, reverse=True)


def word_step(name: str, translate: Callable[..., str]) -> str:
    """Return a step's name in the reader's language; what a researcher wrote stays as it is."""
    if name in _STEP_TITLES:
        return translate(_STEP_TITLES[name])
    for prefix, title in _STEP_PREFIXES.items():
        if name.startswith(prefix):
            return translate(title, what=_word_age(name.removeprefix(prefix), translate))
    return name


def list_losses(steps: Sequence[Step]) -> list[int | None]:
    """Return how many each step took out, of two numbers that are shown; None where one is not.

    >>> list_losses([Step("in the data", 100), Step("population", 40), Step("with falls", None)])
    [None, 60, None]
    """
    losses: list[int | None] = []
    before: int | None = None
    for step in steps:
        is_known = before is not None and step.people is not None
        losses.append((before or 0) - (step.people or 0) if is_known else None)
        before = step.people
    return losses


def _word_age(text: str, translate: Callable[..., str]) -> str:
    for pattern, title in _AGES:
        if found := pattern.fullmatch(text):
            return translate(title, **found.groupdict())
    return text


def _parse_steps(parts: Iterable[MultiPartParameter]) -> tuple[Step, ...]:
    return tuple(Step(part.name, int(part.people) if part.people else None) for part in parts)


def _parse_run(part: MultiPartParameter) -> Run:
    return Run(
        id=part.id,
        project=part.project,
        kind=part.kind,
        title=part.title or part.name or part.id,
        who=part.who,
        state=part.state,
        asked=part.asked,
        started=part.started,
        ended=part.ended,
        fault=part.fault,
        log=tuple(LogLine(line.at, line.text) for line in part.parse_parts("log")),
        tables=tuple((table.name, table.version) for table in part.parse_parts("table")),
        steps=_parse_steps(part.parse_parts("step")),
        definition=part.definition,
        outputs=tuple(part.values.get("output", ())),
        release=part.release,
    )
