"""The port by which operations reach the work of research: live counts, runs, and releases.

`ehr_cli` composes it. The operations decide which roles may call; whoever implements this decides
which steps a project, a run and its release allow, and what people may see. People are named with
all their accounts, since one person's accounts are one person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

# Type and id of whatever's decision changed after a number of an epoch of the feed.
ChangedSubjects = Callable[[int, str], Iterable[tuple[str, str]]]

__all__ = [
    "CohortStep",
    "EvidenceCell",
    "LiveCount",
    "LogLine",
    "PrivateAnswer",
    "PrivateQuestion",
    "ReleaseCheck",
    "ReleaseEvent",
    "ReleaseFile",
    "ReleaseRequest",
    "ReleaseRule",
    "ResearchPerson",
    "ResearchRun",
    "ResearchWork",
    "RunPage",
]


@dataclass(frozen=True)
class ResearchPerson:
    """Who takes a step: the name on record, and the names of all their accounts."""

    name: str
    names: frozenset[str]
    # Steward or auditor; else somebody who works in projects.
    is_checker: bool


@dataclass(frozen=True)
class CohortStep:
    """A step of a cohort, and about how many people are left; None is too few to tell."""

    name: str
    people: int | None


@dataclass(frozen=True)
class LiveCount:
    """The steps of a cohort, how many counts are left, and when more come (an ISO instant)."""

    steps: tuple[CohortStep, ...]
    left: int
    limit: int
    # Empty where none was spent, or none ever comes back.
    until: str


@dataclass(frozen=True)
class PrivateQuestion:
    """A differentially private question about a cohort; what its statistic needs is not None."""

    # count, histogram, mean or quantile
    statistic: str
    epsilon: float
    column: str = ""
    # Of a mean: less or more counts as these.
    low: float | None = None
    high: float | None = None
    # Of a quantile, with the answers that there may be, ascending.
    alpha: float | None = None
    candidates: tuple[float, ...] = ()


@dataclass(frozen=True)
class PrivateAnswer:
    """Noisy numbers by label (empty where there is one alone), and the epsilon that is left."""

    numbers: tuple[tuple[str, float], ...]
    left: float


@dataclass(frozen=True)
class LogLine:
    """A line of the platform in a run's log; `at` is an ISO instant."""

    at: str
    text: str


@dataclass(frozen=True)
class ResearchRun:
    """A run that was asked for; instants are ISO texts, empty where they are still to come."""

    id: str
    project: str
    # cohort-study or code
    kind: str
    title: str
    who: str
    # queued, running, ended or failed
    state: str
    asked: str
    started: str
    ended: str
    fault: str
    log: tuple[LogLine, ...]
    # View -> its Delta version.
    tables: tuple[tuple[str, int], ...]
    steps: tuple[CohortStep, ...]
    definition: str
    outputs: tuple[str, ...]
    # Id of its release, once one was asked for.
    release: str


@dataclass(frozen=True)
class RunPage:
    """Runs, newest first; `older` is the position after which the next page begins, if any."""

    runs: tuple[ResearchRun, ...]
    older: int | None


@dataclass(frozen=True)
class ReleaseFile:
    """A file of a release; cells are None where the caller may not know, or it has none."""

    name: str
    media_type: str
    size: int
    sha256: str
    cells: int | None
    cells_hidden: int | None


@dataclass(frozen=True)
class ReleaseCheck:
    """An automatic check."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class ReleaseRule:
    """A rule of disclosure control, and how many cells it hides."""

    name: str
    cells: int
    meaning: str


@dataclass(frozen=True)
class ReleaseEvent:
    """A step on record: an ISO instant, who, what, and the words that came with it."""

    at: str
    who: str
    action: str
    reason: str


@dataclass(frozen=True)
class ReleaseRequest:
    """A request to release a run's results."""

    id: str
    project: str
    title: str
    is_unsafe: bool
    # waiting, refused, returned or released
    state: str
    asked: str
    by: str
    note: str
    files: tuple[ReleaseFile, ...]
    checks: tuple[ReleaseCheck, ...]
    rules: tuple[ReleaseRule, ...]
    checkers: tuple[str, ...]
    # SHA-256 of the names and contents of all files, which an approval names.
    digest: str
    events: tuple[ReleaseEvent, ...]


@dataclass(frozen=True)
class EvidenceCell:
    """A cell as a checker sees it; `shown` is empty where it is hidden, `rule` says by what."""

    file: str
    row: str
    column: str
    shown: str
    rule: str
    meaning: str


class ResearchWork(Protocol):
    """Work in the projects of the platform. Errors are those of `ehr_fhir.errors`.

    `changed` tells about whom the lake may not have heard yet: they are left out.
    """

    def count(
        self, person: ResearchPerson, project: str, definition: str, changed: ChangedSubjects
    ) -> LiveCount:
        """Count a cohort's people; TooMany when the project has no count left."""

    def answer_private(
        self,
        person: ResearchPerson,
        project: str,
        definition: str,
        question: PrivateQuestion,
        changed: ChangedSubjects,
    ) -> PrivateAnswer:
        """Answer with noise, paid from the project's privacy budget.

        Conflict where too little of it is left, NotFound where none was granted.
        """

    def start_study(
        self, person: ResearchPerson, project: str, definition: str, changed: ChangedSubjects
    ) -> ResearchRun:
        """Queue a study of a cohort."""

    def start_code(
        self,
        person: ResearchPerson,
        project: str,
        code: str,
        outputs: Sequence[str],
        changed: ChangedSubjects,
    ) -> ResearchRun:
        """Queue own code, which writes some files."""

    def list_runs(
        self, person: ResearchPerson, project: str, count: int, older: int | None
    ) -> RunPage:
        """Return a page of the runs of a project; the newest where `older` is None."""

    def find_run(self, person: ResearchPerson, project: str, run: str) -> ResearchRun:
        """Return one run of a project."""

    def request_release(self, person: ResearchPerson, run: str, note: str) -> ReleaseRequest:
        """Check a run's results and ask for their release."""

    def list_releases(self, person: ResearchPerson, project: str) -> Sequence[ReleaseRequest]:
        """Return the requests that somebody may see, of one project where it is named."""

    def find_release(self, person: ResearchPerson, release: str) -> ReleaseRequest:
        """Return one request that somebody may see."""

    def decide_release(
        self,
        person: ResearchPerson,
        release: str,
        decision: str,
        reason: str,
        *,
        is_unsafe_judged: bool,
        digest: str | None = None,
    ) -> ReleaseRequest:
        """Take a step with a request: approve, return, ask or answer.

        An approval names the digest of the files that were read; Conflict when they are others.
        """

    def read_release_file(
        self, person: ResearchPerson, release: str, file: str
    ) -> tuple[bytes, str]:
        """Return a file as it leaves, and its media type."""

    def list_evidence(self, person: ResearchPerson, release: str) -> Sequence[EvidenceCell]:
        """Return each cell of a request and the rule that hides it."""

    def make_dummy_tables(self, person: ResearchPerson, project: str, people: int) -> bytes:
        """Return made-up tables of the shape of the project's views, as a zip of Parquet files."""
