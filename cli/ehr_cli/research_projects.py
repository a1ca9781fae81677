"""The gateway's port for research projects, filled with the register and the view library."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ehr_fhir.errors import Unprocessable
from ehr_gateway.research_projects import (
    CatalogueColumn,
    CatalogueTable,
    CombinedDates,
    ProjectApplication,
    ProjectEvent,
    Researcher,
    ResearchProject,
    Training,
)

if TYPE_CHECKING:
    from ehr_analytics.project import Project
    from ehr_analytics.register import Register
    from ehr_analytics.researchers import Researcher as RegisteredResearcher
    from ehr_etl.gold.dictionary import DictionaryEntry
    from ehr_etl.lake import Lake

# A count of rows is told to the nearest hundred, and not below it. Chosen: one person's joining
# or leaving then rarely changes what is told.
_ROWS_ROUNDED_TO = 100


@dataclass(frozen=True)
class RegisteredProjects:
    """Projects of the register of a data folder."""

    data: Path

    def list_projects(self) -> Sequence[ResearchProject]:
        """Return all projects by id."""
        if not (self.data / "research" / "research.db").exists():
            # Every clinician's log-in asks: a platform without research loads nothing for it.
            return ()
        from ehr_analytics import project as projects

        register = self._open_register()
        listed = projects.list_projects(register)
        return [
            replace(
                _describe(register, project), combined_dates=_find_combined_dates(project, listed)
            )
            for project in listed
        ]

    def save_draft(self, applicant: str, application: ProjectApplication) -> ResearchProject:
        """Write a new draft, or replace the applicant's own."""
        from ehr_analytics import project as projects

        register = self._open_register()
        draft = projects.Project(
            id=application.id,
            title=application.title,
            purpose=application.purpose,
            applicant=applicant,
            ethics=application.ethics,
            items=application.items,
            people=application.people,
            period_from=date.fromisoformat(application.first_day),
            period_to=date.fromisoformat(application.last_day),
            justifications=dict(application.justifications),
            # Another text is refused when the draft is written.
            dates=application.dates,  # type: ignore[arg-type]
            rare_code_persons=application.rare_code_persons,
        )
        _check_items(application.items)
        is_own = any(
            known.id == draft.id and known.applicant == applicant
            for known in projects.list_projects(register)
        )
        save = projects.change_draft if is_own else projects.create_project
        return _describe(register, save(register, draft))

    def submit(self, applicant: str, project: str) -> ResearchProject:
        """Hand a draft in for approval."""
        from ehr_analytics import project as projects

        register = self._open_register()
        return _describe(register, projects.submit_project(register, project, applicant))

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
        """Take a step with a project; two accounts of a person are one approver."""
        from ehr_analytics import project as projects
        from ehr_analytics.suspension import resume_project, suspend_project

        register = self._open_register()
        steps: Mapping[str, Callable[..., Project]] = {
            "approve": projects.approve_project,
            "return": projects.return_project,
            "open": projects.open_project,
            "suspend": suspend_project,
            "resume": resume_project,
            "close": projects.close_project,
        }
        take_step = steps[decision]
        read = {"digest": digest} if decision == "approve" else {}
        return _describe(
            register,
            take_step(register, project, person, reason=reason, other_names=other_names, **read),
        )

    def list_researchers(self) -> Sequence[Researcher]:
        """Return everybody with a training on record, or in a project that is not closed."""
        from ehr_analytics import project as projects
        from ehr_analytics.researchers import list_researchers

        register = self._open_register()
        known, working = list_researchers(register), dict[str, list[str]]()
        for project in projects.list_projects(register):
            if project.state != "closed":
                for person in project.people:
                    working.setdefault(person, []).append(project.id)
        return [
            _describe_researcher(person, known.get(person), working.get(person, ()))
            for person in sorted({*known, *working})
        ]

    def record_training(
        self,
        person: str,
        affiliation: str,
        training: Training,
        recorded_by: str,
        other_names: Collection[str],
    ) -> Researcher:
        """Record a training; nobody records their own."""
        from ehr_analytics import researchers

        taken = researchers.Training(
            training.course,
            date.fromisoformat(training.day),
            date.fromisoformat(training.expires),
        )
        researchers.record_training(
            self._open_register(), person, affiliation, taken, recorded_by, other_names=other_names
        )
        return self._find_researcher(person)

    def withdraw_training(
        self, person: str, course: str, withdrawn_by: str, other_names: Collection[str]
    ) -> Researcher:
        """Take a course off somebody's record; nobody takes off their own."""
        from ehr_analytics import researchers

        researchers.withdraw_training(
            self._open_register(), person, course, withdrawn_by, other_names=other_names
        )
        return self._find_researcher(person)

    def _find_researcher(self, person: str) -> Researcher:
        return next(each for each in self.list_researchers() if each.person == person)

    def list_tables(self) -> Sequence[CatalogueTable]:
        """Return the catalogue by view."""
        from ehr_etl.lake import Lake

        lake, tables = Lake(self.data / "lake"), []
        for view, group in groupby(_list_columns(), key=lambda entry: entry.view):
            columns = list(group)
            tables.append(
                CatalogueTable(
                    view=view,
                    resource=columns[0].resource,
                    rows=_count_rows(lake, view),
                    columns=tuple(
                        CatalogueColumn(
                            entry.column,
                            entry.type,
                            entry.unit or "",
                            entry.meaning,
                            {"zh-Hant": entry.meaning_zh_hant, "zh-Hans": entry.meaning_zh_hans},
                        )
                        for entry in columns
                    ),
                )
            )
        return tables

    def _open_register(self) -> Register:
        from ehr_analytics.register import Register

        return Register(self.data)


@cache
def _list_columns() -> tuple[DictionaryEntry, ...]:
    """Return every column of the view library, by view; it is a part of the installation."""
    from ehr_etl.gold.dictionary import list_entries

    return tuple(sorted(list_entries(), key=lambda entry: (entry.view, entry.position)))


def _check_items(items: Sequence[str]) -> None:
    """Refuse columns that no view of the catalogue has, naming them."""
    from ehr_analytics.project import GRANTED_ITEMS

    known = {f"{entry.view}.{entry.column}" for entry in _list_columns()} | GRANTED_ITEMS
    if unknown := sorted(set(items) - known):
        raise Unprocessable(
            f"No view has {', '.join(unknown[:5])}: see the catalogue.", expression="item"
        )


def _describe(register: Register, project: Project) -> ResearchProject:
    from ehr_analytics.project import digest_application, project_key_path

    views = project.columns_by_view()
    return ResearchProject(
        application=ProjectApplication(
            id=project.id,
            title=project.title,
            purpose=project.purpose,
            ethics=project.ethics,
            items=project.items,
            justifications=project.justifications,
            people=project.people,
            first_day=project.period_from.isoformat(),
            last_day=project.period_to.isoformat(),
            dates=project.dates,
            rare_code_persons=project.rare_code_persons,
        ),
        resources=tuple(
            sorted({entry.resource for entry in _list_columns() if entry.view in views})
        ),
        applicant=project.applicant,
        state=project.state,
        approvers=project.approvers,
        events=tuple(
            ProjectEvent(
                event.at,
                event.who,
                event.action,
                event.after or "",
                str(event.detail.get("reason", "")),
            )
            for event in register.events(project.id)
            if event.run is None
        ),
        has_key=project_key_path(register.data, project.id).exists(),
        digest=digest_application(project),
    )


def _find_combined_dates(project: Project, others: Sequence[Project]) -> tuple[CombinedDates, ...]:
    from ehr_analytics.date_form_pairs import find_combined_forms

    return tuple(
        CombinedDates(found.project, found.dates, found.share_undone, found.has_shared_people)
        for found in find_combined_forms(project, others)
    )


def _describe_researcher(
    person: str, known: RegisteredResearcher | None, working: Sequence[str]
) -> Researcher:
    trainings = known.trainings if known else ()
    return Researcher(
        person,
        known.affiliation if known else "",
        tuple(
            Training(each.course, each.day.isoformat(), each.expires.isoformat())
            for each in trainings
        ),
        tuple(working),
    )


def _count_rows(lake: Lake, view: str) -> int | None:
    """Return the rows of a view's table, rounded; None where they are few or not made yet."""
    from ehr_etl.lake import gold_table_name

    name = gold_table_name(view)
    if not lake.has_table(name):
        return None
    rounded = round(lake.open_table(name).count() / _ROWS_ROUNDED_TO) * _ROWS_ROUNDED_TO
    return rounded or None
