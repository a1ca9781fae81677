"""The port by which operations reach the models of the platform: versions, gates, decisions.

`ehr_cli` composes it. The operations decide which roles may call; whoever implements this decides
which version may score. People are named with all their accounts, since one person's accounts are
one person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

__all__ = [
    "DecisionRecords",
    "Model",
    "ModelAlarm",
    "ModelDecision",
    "ModelGate",
    "ModelRegister",
    "ModelResult",
    "ModelVersion",
    "ModelWeek",
    "Worklist",
    "WorklistPerson",
    "WorklistReason",
]


@dataclass(frozen=True)
class ModelGate:
    """A condition that a version has to meet before it may score, and what was found.

    `message` is the code of what `text` says in English, and `values` what stands in it.
    """

    name: str
    is_met: bool
    text: str
    message: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelResult:
    """How one predictor did: a metric with its 95 % interval, which may be unknown."""

    predictor: str
    metric: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ModelVersion:
    """A version: when it was trained (an ISO instant), what it is worth, and its files.

    Of one that is `damaged` nothing else is known.
    """

    number: int
    created: str
    # A code of the evaluation: better-than-baseline, not-better, too-few-outcomes; or damaged:
    # its files are not those that were signed.
    grade: str
    verdict: str
    gates: tuple[ModelGate, ...]
    results: tuple[ModelResult, ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class ModelDecision:
    """A step: propose, promote, roll-back, shadow or end-shadow; of no version where it is None."""

    at: str
    number: int | None
    action: str
    who: str
    reason: str


@dataclass(frozen=True)
class ModelAlarm:
    """What changed in a week, named by its Monday: psi, missing or calibration, and of what.

    `about` is the name of what the model reads, or `score`; `title` the same in words.
    """

    week: str
    kind: str
    about: str
    value: float
    title: str = ""


@dataclass(frozen=True)
class ModelWeek:
    """A watched week, named by its Monday: how the scores lie, and what was told and came true.

    `psi` is the population stability index of the score against training; `expected` and `observed`
    are shares of 1, `observed` None until outcomes arrived.
    """

    monday: str
    psi: float
    expected: float
    observed: float | None


@dataclass(frozen=True)
class Model:
    """A model of a task. `champion` scores, `shadow` scores unseen, `proposal` waits.

    One that `is_forecast` scores nobody: its newest version is served, and its gates decide how.
    """

    task: str
    title: str
    champion: int | None
    shadow: int | None
    proposal: int | None
    # The newest first.
    versions: tuple[ModelVersion, ...]
    decisions: tuple[ModelDecision, ...]
    alarms: tuple[ModelAlarm, ...]
    # The earliest first.
    weeks: tuple[ModelWeek, ...]
    # The last week that was compared, empty where none was.
    watched: str
    is_forecast: bool = False
    # Whether the decisions are those of the audit log; where they are not, no version scores.
    is_as_logged: bool = True


@dataclass(frozen=True)
class WorklistReason:
    """What raises somebody's score, in words; its value, None where it is not known."""

    text: str
    value: float | None


@dataclass(frozen=True)
class WorklistPerson:
    """Somebody on a worklist: the probability, and what raises it most."""

    patient: str
    probability: float
    reasons: tuple[WorklistReason, ...]


@dataclass(frozen=True)
class Worklist:
    """People in the order of their risk, by the version of a model that scores."""

    title: str
    version: int
    people: Sequence[WorklistPerson]


class DecisionRecords(Protocol):
    """The decisions as records for the audit log (`audit_log.lineage.LineageSource`)."""

    def read_new(self) -> Sequence[Mapping[str, Any]]:
        """Return the records that the log may not have yet, the oldest first."""

    def mark_recorded(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Keep that these are in the log."""


class ModelRegister(Protocol):
    """Models, their versions, and what was decided about them."""

    def list_models(self, language: str) -> Sequence[Model]:
        """Return every model, with its words in a language."""

    def count_waiting(self) -> int:
        """Return how many models have a proposal or an alarm. No version is read for it."""

    def find_scoring(self) -> Mapping[str, int]:
        """Return the number of the version that scores by the name of its task.

        A version is left out whose files are not those that two people promoted; all are where the
        decisions are not those of the audit log.
        """

    def read_worklist(self, task: str, language: str, now: datetime) -> Worklist:
        """Return the people whom a task's model puts first; who may see whom is not judged here.

        NotFound where no version scores or the task has no worklist, Unavailable while it is being
        worked out.
        """

    @property
    def decisions(self) -> DecisionRecords:
        """Return what tells the audit log of new decisions."""

    def read_file(self, task: str, number: int, name: str) -> tuple[bytes, str]:
        """Return a file of a version that people may read, and its media type.

        NotFound where there is none; Fault where it is not the one that was signed.
        """

    def decide(
        self,
        action: str,
        task: str,
        number: int | None,
        who: str,
        names: frozenset[str],
        reason: str,
    ) -> None:
        """Take a step as somebody, whose accounts have `names`; Conflict where it may not be."""
