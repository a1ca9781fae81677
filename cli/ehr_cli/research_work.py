"""The gateway's port for the work of research, filled with live counts, the queue, the airlock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import NotFound
from ehr_gateway.research_work import (
    ChangedSubjects,
    CohortStep,
    EvidenceCell,
    LiveCount,
    LogLine,
    PrivateAnswer,
    PrivateQuestion,
    ReleaseCheck,
    ReleaseEvent,
    ReleaseFile,
    ReleaseRequest,
    ReleaseRule,
    ResearchPerson,
    ResearchRun,
    RunPage,
)

if TYPE_CHECKING:
    from ehr_analytics import release_records
    from ehr_analytics.people import Person
    from ehr_analytics.private_study import PrivateCohort
    from ehr_analytics.project import Project
    from ehr_analytics.register import Register
    from ehr_analytics.run_queue import RequestedRun


@dataclass(frozen=True)
class RegisteredWork:
    """Work in the projects of a data folder."""

    data: Path
    # The gateway's, which holds the privacy budgets where it is on a server.
    database: Path | str = Path()

    def count(
        self, person: ResearchPerson, project: str, definition: str, changed: ChangedSubjects
    ) -> LiveCount:
        """Count a cohort's people."""
        from ehr_analytics import live_counts

        register = self._open_register()
        _require_visible(register, person, project)
        counted = live_counts.count_people(
            register, project, definition, _to_person(person), changed
        )
        return LiveCount(
            tuple(CohortStep(step.name, step.people) for step in counted.steps),
            counted.left,
            counted.limit,
            _to_instant(counted.until.timestamp() if counted.until else None),
        )

    def answer_private(
        self,
        person: ResearchPerson,
        project: str,
        definition: str,
        question: PrivateQuestion,
        changed: ChangedSubjects,
    ) -> PrivateAnswer:
        """Answer with noise, paid from the project's privacy budget."""
        from ehr_analytics.cohort_study import parse_study_cohort
        from ehr_analytics.live_counts import QUERY_LIMITS
        from ehr_analytics.private_study import LAKE, open_private_cohort
        from ehr_analytics.withheld import find_withheld_people
        from ehr_cli.privacy_ledger import open_ledger

        register, who = self._open_register(), _to_person(person)
        _require_visible(register, person, project)
        withheld = find_withheld_people(self.data, changed)
        with open_ledger(self.data, self.database) as ledger:
            cohort = open_private_cohort(
                register,
                ledger,
                project,
                parse_study_cohort(definition),
                who.name,
                withheld=withheld,
                other_names=who.names,
                limits=QUERY_LIMITS,
            )
            numbers = _answer_question(cohort, question)
            return PrivateAnswer(numbers, ledger.read_remaining_epsilon(LAKE, project))

    def start_study(
        self, person: ResearchPerson, project: str, definition: str, changed: ChangedSubjects
    ) -> ResearchRun:
        """Queue a study of a cohort; it runs in the background."""
        from ehr_analytics import run_queue

        register = self._open_register()
        _require_visible(register, person, project)
        run = run_queue.request_cohort_run(register, project, definition, _to_person(person))
        return self._start(register, run, changed)

    def start_code(
        self,
        person: ResearchPerson,
        project: str,
        code: str,
        outputs: Sequence[str],
        changed: ChangedSubjects,
    ) -> ResearchRun:
        """Queue own code; it runs in the sandbox, in the background."""
        from ehr_analytics import run_queue

        register = self._open_register()
        _require_visible(register, person, project)
        run = run_queue.request_code_run(register, project, code, outputs, _to_person(person))
        return self._start(register, run, changed)

    def list_runs(
        self, person: ResearchPerson, project: str, count: int, older: int | None
    ) -> RunPage:
        """Return a page of the runs of a project that were asked for here, newest first."""
        from ehr_analytics import run_queue

        register = self._open_register()
        _require_visible(register, person, project)
        runs, older = run_queue.list_requested_runs(register, project, count, older)
        return RunPage(tuple(_describe_run(register, run) for run in runs), older)

    def find_run(self, person: ResearchPerson, project: str, run: str) -> ResearchRun:
        """Return one run of a project."""
        from ehr_analytics import run_queue

        register = self._open_register()
        _require_visible(register, person, project)
        run_queue.fail_cut_off(register)
        found = run_queue.get_requested_run(register, run)
        if found.project != project:
            raise NotFound("There is no such run.")
        return _describe_run(register, found)

    def request_release(self, person: ResearchPerson, run: str, note: str) -> ReleaseRequest:
        """Check a run's results and ask for their release."""
        from ehr_analytics import release_requests

        return _describe_release(
            release_requests.request_release(self._open_register(), run, note, _to_person(person))
        )

    def list_releases(self, person: ResearchPerson, project: str) -> Sequence[ReleaseRequest]:
        """Return the requests that somebody may see."""
        from ehr_analytics import release_requests

        requests = release_requests.list_requests(
            self._open_register(), _to_person(person), is_checker=person.is_checker, project=project
        )
        return [_describe_release(request) for request in requests]

    def find_release(self, person: ResearchPerson, release: str) -> ReleaseRequest:
        """Return one request that somebody may see."""
        from ehr_analytics import release_requests

        return _describe_release(
            release_requests.find_request(
                self._open_register(), release, _to_person(person), is_checker=person.is_checker
            )
        )

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
        """Take a step with a request."""
        from ehr_analytics import release_requests as requests

        register, who = self._open_register(), _to_person(person)
        if decision == "approve":
            after = requests.approve_release(
                register,
                release,
                reason,
                who,
                is_unsafe_judged=is_unsafe_judged,
                digest=digest,
            )
        elif decision == "return":
            after = requests.return_release(register, release, reason, who)
        elif decision == "ask":
            after = requests.ask_question(register, release, reason, who)
        else:
            after = requests.answer_question(register, release, reason, who)
        return _describe_release(after)

    def read_release_file(
        self, person: ResearchPerson, release: str, file: str
    ) -> tuple[bytes, str]:
        """Return a file as it leaves, and its media type."""
        from ehr_analytics import release_requests

        return release_requests.read_file(
            self._open_register(), release, file, _to_person(person), is_checker=person.is_checker
        )

    def list_evidence(self, person: ResearchPerson, release: str) -> Sequence[EvidenceCell]:
        """Return each cell of a request and the rule that hides it."""
        from ehr_analytics import release_requests

        cells = release_requests.list_evidence(self._open_register(), release, _to_person(person))
        return [EvidenceCell(**{**asdict(cell), "shown": cell.shown or ""}) for cell in cells]

    def make_dummy_tables(self, person: ResearchPerson, project: str, people: int) -> bytes:
        """Return made-up tables of the shape of the project's views, zipped."""
        from ehr_analytics import project as projects
        from ehr_analytics.dummy_data import zip_dummy_data

        register = self._open_register()
        found = _require_visible(register, person, project)
        projects.require_open_for(register, found, person.name, other_names=person.names)
        return zip_dummy_data(register, found, people=people)

    def resume_runs(self, changed: ChangedSubjects) -> None:
        """Run what a restart left waiting, and say of what it cut off that it was."""
        if (self.data / "research" / "research.db").exists():
            from ehr_analytics import run_queue, run_worker

            register = self._open_register()
            run_queue.fail_cut_off(register)
            if run_queue.has_waiting(register):
                run_worker.start_waiting(register, changed)

    def _start(
        self, register: Register, run: RequestedRun, changed: ChangedSubjects
    ) -> ResearchRun:
        from ehr_analytics import run_worker

        run_worker.start_waiting(register, changed)
        return _describe_run(register, run)

    def _open_register(self) -> Register:
        from ehr_analytics.register import Register

        return Register(self.data)


def _to_person(person: ResearchPerson) -> Person:
    from ehr_analytics.people import Person

    return Person(person.name, person.names)


def _require_visible(register: Register, person: ResearchPerson, project: str) -> Project:
    """Return a project: to its people, and to checkers who are not; NotFound to others."""
    from ehr_analytics import project as projects

    # The same words for every reason, without what was sent.
    hidden = NotFound("There is no such project.")
    try:
        found = projects.get_project(register, project)
    except NotFound:
        raise hidden from None
    is_own = projects.is_of_project(found, {person.name, *person.names})
    if found.state == "draft" or is_own == person.is_checker:
        raise hidden
    return found


def _answer_question(
    cohort: PrivateCohort, question: PrivateQuestion
) -> tuple[tuple[str, float], ...]:
    """Return noisy numbers by label; what the question lacks, the operation has refused."""
    column, epsilon = question.column, question.epsilon
    if question.statistic == "histogram":
        return tuple(cohort.histogram(column, epsilon).items())
    if question.statistic == "mean" and question.low is not None and question.high is not None:
        return (("", cohort.mean(column, (question.low, question.high), epsilon)),)
    if question.statistic == "quantile" and question.alpha is not None:
        return (("", cohort.quantile(column, question.alpha, question.candidates, epsilon)),)
    return (("", cohort.count(epsilon)),)


def _describe_run(register: Register, run: RequestedRun) -> ResearchRun:
    from ehr_analytics import release_requests

    return ResearchRun(
        id=run.id,
        project=run.project,
        kind=run.kind,
        title=run.title,
        who=run.person.name,
        state=run.state,
        asked=_to_instant(run.asked),
        started=_to_instant(run.started),
        ended=_to_instant(run.ended),
        fault=run.fault,
        log=tuple(LogLine(_to_instant(line.at), line.text) for line in run.log),
        tables=tuple(release_requests.find_tables(register, run.id).items()),
        steps=tuple(CohortStep(step.name, step.people) for step in run.steps),
        definition=run.definition,
        outputs=run.outputs,
        release=run.id if release_requests.is_requested(register, run.id) else "",
    )


def _describe_release(request: release_records.ReleaseRequest) -> ReleaseRequest:
    return ReleaseRequest(
        id=request.id,
        project=request.project,
        title=request.title,
        is_unsafe=request.is_unsafe,
        state=request.state,
        asked=request.asked,
        by=request.by,
        note=request.note,
        files=tuple(ReleaseFile(**asdict(file)) for file in request.files),
        checks=tuple(ReleaseCheck(**asdict(check)) for check in request.checks),
        rules=tuple(ReleaseRule(**asdict(rule)) for rule in request.rules),
        checkers=request.checkers,
        digest=request.digest,
        events=tuple(ReleaseEvent(**asdict(step)) for step in request.steps),
    )


def _to_instant(seconds: float | None) -> str:
    return "" if seconds is None else format_instant(round(seconds * 1000))
