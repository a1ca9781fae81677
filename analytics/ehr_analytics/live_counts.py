"""Live counts of a cohort: about how many people are left after each step, while it is written.

Nobody checks these numbers, so they are differentially private. Every question costs epsilon, and a
project has a fixed number of questions, so what all its answers together tell about one person is
bounded, whichever questions they are: two cohorts that differ by a person, the same one under other
labels or a day later. The same question within a day is given its first answer again, for nothing.

The noise comes first; then the project's policy rounds and hides, which tells nothing more.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

from ehr_analytics import project as projects
from ehr_analytics.cohort_study import parse_study_cohort
from ehr_analytics.cohorts import AttritionStep, Cohort
from ehr_analytics.cohorts.labels import FIRST_STEP, list_steps
from ehr_analytics.cohorts.project_run import prepare_project_cohort
from ehr_analytics.cohorts.usage import event_columns
from ehr_analytics.disclosure.private_statistics import add_noise
from ehr_analytics.people import Person
from ehr_analytics.project import Project
from ehr_analytics.register import Register
from ehr_analytics.withheld import ChangedSubjects, find_withheld_people
from ehr_etl.duckdb_session import QueryLimits
from ehr_fhir.errors import TooMany, Unavailable, Unprocessable
from ehr_privacy.disclosure import POLICIES

__all__ = [
    "LIMITS",
    "QUERY_LIMITS",
    "CountLimits",
    "LiveCount",
    "ShownStep",
    "control_attrition",
    "count_people",
    "require_private_steps",
    "reserve_query",
]


@dataclass(frozen=True)
class CountLimits:
    """How many questions a project has, and how much each may tell."""

    # Chosen: an afternoon's work on a cohort.
    in_window: int = 20
    window_seconds: float = 24 * 3600.0
    # Over the life of a project.
    in_all: int = 100
    # Of each question. 95 of 100 last steps are within 30 people of the true one; a step before
    # is a sum of more noise.
    epsilon: float = 0.1
    # In a question. Chosen: the first of so many is within 130 people.
    criteria: int = 20


LIMITS = CountLimits()
# Chosen: a count is asked for while somebody waits.
QUERY_LIMITS = QueryLimits(memory_mb=2048, threads=2, seconds=20.0)
_SECONDS_TO_WAIT = 2.0
# One at a time in each process: each may take the memory of a query.
_count_lock = threading.Lock()


@dataclass(frozen=True)
class ShownStep:
    """A step of a cohort, and about how many people are left; None is too few to tell."""

    name: str
    people: int | None


@dataclass(frozen=True)
class LiveCount:
    """The steps of a cohort, and how many questions are left."""

    steps: tuple[ShownStep, ...]
    left: int
    limit: int
    # When a question comes back; None where none was spent, or none ever comes back.
    until: datetime | None


def count_people(
    register: Register,
    project_id: str,
    definition: str,
    person: Person,
    changed: ChangedSubjects,
    limits: CountLimits = LIMITS,
) -> LiveCount:
    """Count a cohort, given as TOML, for one of the project's people.

    Unprocessable names a fault of the cohort, which costs nothing; TooMany says when to come back.
    Whoever `changed` tells of, whom the lake does not know yet, is not counted.
    """
    project = projects.get_project(register, project_id)
    withheld = find_withheld_people(register.data, changed)
    cohort = parse_study_cohort(definition)
    prepared = prepare_project_cohort(
        register, project, cohort, person.name, other_names=person.names
    )
    require_private_steps(cohort)
    if _count_criteria(cohort) > limits.criteria:
        raise Unprocessable(
            f"A count has at most {limits.criteria} criteria: with each, its numbers get less sure."
        )
    question = _digest_question(cohort)
    names = [FIRST_STEP, *list_steps(cohort)]
    people = _find_answer(register, project, question, limits)
    if people is None:
        with reserve_query():
            # Somebody may have asked the same while this request waited.
            people = _find_answer(register, project, question, limits)
            if people is None:
                number = _charge(register, project, person.name, question, limits)
                if number is None:
                    raise TooMany(_describe_limit(_read_ledger(register, project, limits)))
                attrition = prepared.run(QUERY_LIMITS, withheld=withheld).attrition
                people = _answer(register, number, attrition, limits)
    ledger = _read_ledger(register, project, limits)
    return replace(ledger, steps=_control(project, names, people))


@contextmanager
def reserve_query() -> Iterator[None]:
    """Let one question at a time read the lake; Unavailable where another one takes long."""
    if not _count_lock.acquire(timeout=_SECONDS_TO_WAIT):
        raise Unavailable("Somebody else's people are being counted: try again.")
    try:
        yield
    finally:
        _count_lock.release()


def control_attrition(
    register: Register,
    project: Project,
    login: str,
    cohort: Cohort,
    attrition: Sequence[AttritionStep],
    limits: CountLimits = LIMITS,
) -> tuple[ShownStep, ...]:
    """Return the steps of a cohort that was run, as a live count; none where no question is left.

    It costs a question: a run's attrition would otherwise be a live count without limits.
    """
    if _depends_on_others(cohort) or _count_criteria(cohort) > limits.criteria:
        return ()
    question = _digest_question(cohort)
    people = _find_answer(register, project, question, limits)
    if people is None:
        number = _charge(register, project, login, question, limits)
        if number is None:
            return ()
        people = _answer(register, number, attrition, limits)
    return _control(project, [step.name for step in attrition], people)


def require_private_steps(cohort: Cohort) -> None:
    """Refuse a cohort in which one person decides whether others stay."""
    if _ends_with_latest_index(cohort):
        raise Unprocessable(
            "A count of people with a whole follow-up needs follow_up.data_until as a date."
        )
    if _reads_latest_event(cohort):
        raise Unprocessable(
            "A count reads no days_to_last, which anybody's latest event changes for everybody: "
            "end the data by a date."
        )


def _depends_on_others(cohort: Cohort) -> bool:
    # The last event of anybody would move everybody's last day.
    return _ends_with_latest_index(cohort) or _reads_latest_event(cohort)


def _ends_with_latest_index(cohort: Cohort) -> bool:
    follow_up = cohort.follow_up
    return follow_up is not None and follow_up.whole and follow_up.data_until == "latest"


def _count_criteria(cohort: Cohort) -> int:
    return len(cohort.include) + len(cohort.exclude)


def _reads_latest_event(cohort: Cohort) -> bool:
    return any("days_to_last" in event_columns(cohort, events.name) for events in cohort.events)


def add_noise_to_attrition(attrition: Sequence[AttritionStep], epsilon: float) -> list[int]:
    """Return the people left after each step, with noise that costs epsilon for all together.

    One person leaves at one step or stays: noise is added to the leavers of each step and to those
    who stay, and the people left are sums of these, made to descend.
    """
    persons = [step.persons for step in attrition]
    groups = [*(before - after for before, after in pairwise(persons)), persons[-1]]
    noisy = add_noise(groups, epsilon)
    left: list[int] = []
    total = 0
    for group in reversed(noisy):
        total += group
        left.append(max(total, left[-1] if left else 0))
    return left[::-1]


def _control(
    project: Project, names: Sequence[str], people: Sequence[int]
) -> tuple[ShownStep, ...]:
    policy = POLICIES[project.policy]
    return tuple(
        ShownStep(name, policy.control(count)) for name, count in zip(names, people, strict=True)
    )


def _digest_question(cohort: Cohort) -> str:
    """Return a digest of who is asked about: without titles, names of steps, and columns."""
    asked = replace(
        cohort,
        name="",
        title="",
        columns=(),
        include=tuple(replace(criterion, name="") for criterion in cohort.include),
        exclude=tuple(replace(criterion, name="") for criterion in cohort.exclude),
    )
    return hashlib.sha256(repr(asked).encode()).hexdigest()


def _charge(
    register: Register, project: Project, login: str, question: str, limits: CountLimits
) -> int | None:
    """Take one question from the ledger; return its number, None where none is left."""
    now = register.clock().timestamp()
    with register.transaction() as connection:
        # One statement reads and takes: no two requests take the same question.
        row = connection.execute(
            "INSERT INTO live_count(project, who, at, question) SELECT ?, ?, ?, ?"
            " WHERE (SELECT count(*) FROM live_count WHERE project = ?1 AND at > ?5) < ?6"
            " AND (SELECT count(*) FROM live_count WHERE project = ?1) < ?7 RETURNING seq",
            (project.id, login, now, question, now - limits.window_seconds, limits.in_window,
             limits.in_all),
        ).fetchone()  # fmt: skip
        if row is None:
            return None
        register.append_event(connection, project.id, login, "count", detail={"question": question})
        return int(row["seq"])


def _answer(
    register: Register, number: int, attrition: Sequence[AttritionStep], limits: CountLimits
) -> list[int]:
    people = add_noise_to_attrition(attrition, limits.epsilon)
    with register.transaction() as connection:
        connection.execute(
            "UPDATE live_count SET answer = ? WHERE seq = ?", (json.dumps(people), number)
        )
    return people


def _find_answer(
    register: Register, project: Project, question: str, limits: CountLimits
) -> list[int] | None:
    # Whatever the lake took in since: a table changes with every record.
    begin = register.clock().timestamp() - limits.window_seconds
    with register.transaction() as connection:
        row = connection.execute(
            "SELECT answer FROM live_count WHERE project = ? AND question = ?"
            " AND answer IS NOT NULL AND at > ? ORDER BY seq LIMIT 1",
            (project.id, question, begin),
        ).fetchone()
    if row is None:
        return None
    people: list[int] = json.loads(row["answer"])
    return people


def _read_ledger(register: Register, project: Project, limits: CountLimits) -> LiveCount:
    """Return how many questions are left, without any steps."""
    begin = register.clock().timestamp() - limits.window_seconds
    with register.transaction() as connection:
        row = connection.execute(
            "SELECT count(*) AS spent, count(*) FILTER (WHERE at > ?2) AS lately,"
            " min(at) FILTER (WHERE at > ?2) AS first FROM live_count WHERE project = ?1",
            (project.id, begin),
        ).fetchone()
    left_in_all = limits.in_all - row["spent"]
    until = None
    if row["first"] is not None and left_in_all > 0:
        until = datetime.fromtimestamp(row["first"] + limits.window_seconds, UTC)
    left = max(0, min(limits.in_window - row["lately"], left_in_all))
    return LiveCount((), left, limits.in_window, until)


def _describe_limit(ledger: LiveCount) -> str:
    if ledger.until is None:
        return "This project has asked for all its counts: run a study, and request its release."
    when = f"{ledger.until:%Y-%m-%d %H:%M} UTC"
    return f"A project has {ledger.limit} counts in a day: the next one comes at {when}."
