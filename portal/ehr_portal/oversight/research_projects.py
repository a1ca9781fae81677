"""Research projects and the catalogue of columns, as the gateway tells of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import MultiPartParameter, parse_multi_parts
from ehr_portal.i18n import N_

__all__ = [
    "DATES_TELL",
    "DATE_FORM_TITLES",
    "DATE_FORM_WARNINGS",
    "GRANTED_TITLES",
    "OpenProject",
    "Project",
    "Table",
    "build_project_id",
    "parse_open_projects",
    "parse_projects",
    "parse_tables",
]

STATE_TITLES = {
    "draft": N_("Draft"),
    "submitted": N_("Waits for approval"),
    "approved": N_("Approved, not open yet"),
    "open": N_("Open"),
    "suspended": N_("Suspended"),
    "closed": N_("Closed for good"),
}
STATE_COLOURS = {
    "draft": "grey", "submitted": "yellow", "approved": "blue", "open": "green", "suspended": "red",
}  # fmt: skip
ACTION_TITLES = {
    "rotate-key": N_("Key replaced"),
    "new": N_("Draft written"),
    "change": N_("Draft changed"),
    "submit": N_("Handed in"),
    "approve": N_("Approved"),
    "return": N_("Returned to the applicant"),
    "open": N_("Opened"),
    "suspend": N_("Suspended"),
    "resume": N_("Agreed that it goes on"),
    "close": N_("Closed, and its key destroyed"),
    "count": N_("People of a cohort counted"),
    "cohort": N_("Cohort run"),
    "run": N_("Study run"),
    "query": N_("Rows read"),
    "export": N_("Rows exported"),
    "download": N_("Exported rows downloaded"),
}
# What is granted as a whole, beside columns of views.
GRANTED_TITLES = {
    "rows.read": N_("Read rows of single, de-identified patients, not only counts"),
    "views.own": N_("Run views of one's own over all elements of de-identified records"),
    "notes.read": N_("Read free text out of which names and numbers are taken"),
    "districts.count": N_("Count people by the district they live in"),
    "hours.count": N_("Count emergency visits by the hour of day"),
}
# The forms of dates, from what tells least to what tells most.
DATE_FORM_TITLES = {
    "quarter": N_("The quarter of the year"),
    "month": N_("The month"),
    "episode": N_("Days, shifted for each visit or stay by itself"),
    "shift": N_("Days, all of a person shifted alike"),
}
DATE_FORM_WARNINGS = {
    "quarter": N_("Nothing but the quarter can be read of a date."),
    "month": N_("Nothing but the month can be read of a date."),
    "episode": N_(
        "Intervals within a visit or stay are right, others are not. Who knows one true date of a"
        " person, and finds it, knows the other dates of that visit or stay."
    ),
    "shift": N_(
        "All intervals are right. Who knows one true date of a person, and finds it, knows all"
        " dates of that person."
    ),
}
# What shows dates of single patients: who decides reads what one known date gives away.
DATES_TELL = ("rows.read", "views.own", "notes.read")
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Column:
    """One column of a view."""

    name: str
    type: str
    unit: str
    meaning: str
    # Language tag -> the meaning in it; English alone for a column that nobody has translated.
    translations: Mapping[str, str] = field(default_factory=dict)

    def find_meaning(self, language: str) -> Words:
        """Return the meaning in the reader's language, or in English.

        >>> Column("start", "date", "", "When it began", {"zh-Hant": "開始時間"}).find_meaning(
        ...     "zh-Hant-HK")
        Words(text='開始時間', language='zh-Hant')
        """
        for tag, text in self.translations.items():
            if language.startswith(tag):
                return Words(text, tag)
        return Words(self.meaning, "en")


@dataclass(frozen=True)
class Words:
    """A text, and the tag of the language it is in."""

    text: str
    language: str


@dataclass(frozen=True)
class Table:
    """One view of the catalogue; `rows` is rounded, 0 where it is not told."""

    view: str
    resource: str
    rows: int
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Step:
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
class CombinedDates:
    """A project whose form of dates gives true days away together with this one's."""

    project: str
    # Of a hundred patients, those all of whose true days would be known.
    percent: int
    has_shared_people: bool


@dataclass(frozen=True)
class Project:
    """A research project; days are ISO dates."""

    id: str
    title: str
    purpose: str
    ethics: str
    applicant: str
    state: str
    first_day: str
    last_day: str
    people: tuple[str, ...]
    items: tuple[str, ...]
    approvers: tuple[str, ...]
    # View -> why its columns are needed.
    justifications: Mapping[str, str]
    # A form of dates.
    dates: str
    steps: tuple[Step, ...]
    # Whether the key by which its pseudonyms are made is there.
    has_key: bool = False
    # Persons that a code has to have to be read as it is; 0: the platform's number.
    rare_code_persons: int = 0
    # Of the application, which an approval names.
    digest: str = ""
    # For those who decide: projects with which it would give true days away.
    combined_dates: tuple[CombinedDates, ...] = ()

    @property
    def key_title(self) -> str:
        """What became of its key, still to translate."""
        if self.has_key:
            return N_("It is there, and makes the numbers that stand for patients")
        if self.state == "closed":
            return N_(
                "It is destroyed: the numbers that stood for patients can never be made again"
            )
        return N_("It is made when the project is opened")

    def is_over_on(self, day: date) -> bool:
        """Say whether its period has ended and it is still to be closed."""
        return self.state in ("open", "suspended") and self.last_day < day.isoformat()

    @property
    def state_title(self) -> str:
        """The state in words, still to translate."""
        return STATE_TITLES.get(self.state, self.state)

    @property
    def state_colour(self) -> str:
        """The colour of the state's tag."""
        return STATE_COLOURS.get(self.state, "grey")

    @property
    def was_opened(self) -> bool:
        """Whether work with its data has ever been allowed."""
        return any(step.action == "open" for step in self.steps) or self.state == "open"

    @property
    def granted(self) -> list[str]:
        """What it asks for beside columns."""
        return [item for item in self.items if item in GRANTED_TITLES]

    @property
    def columns_by_view(self) -> dict[str, list[str]]:
        """Its columns, by view."""
        views: dict[str, list[str]] = {}
        for item in self.items:
            if item not in GRANTED_TITLES:
                view, _, column = item.partition(".")
                views.setdefault(view, []).append(column)
        return views

    def decisions_for(self, login: str, role: str) -> list[str]:
        """Return the decisions that its state and the reader's part in it offer.

        The gateway judges each again, by all accounts of a person.
        """
        is_own = login == self.applicant or login in self.people
        may_close = self.state in ("open", "suspended") and (
            login == self.applicant or login in self.approvers
        )
        closing = ["close"] if may_close else []
        if role not in ("steward", "auditor") or is_own:
            return closing
        if self.state == "open":
            return ["suspend", *closing] if role == "steward" else closing
        if self.state == "suspended":
            return ["resume", *closing]
        if self.state == "submitted":
            return ["return"] if login in self.approvers else ["approve", "return"]
        return ["open"] if self.state == "approved" and login in self.approvers else []


@dataclass(frozen=True)
class OpenProject:
    """What a patient reads of an open project."""

    title: str
    purpose: str
    ethics: str
    opened: str
    last_day: str
    types: tuple[str, ...]


def parse_projects(answer: Resource) -> list[Project]:
    """Return the projects of the answer of `$research-projects`."""
    return [_build_project(part) for part in parse_multi_parts(answer, "project")]


def parse_open_projects(answer: Resource) -> list[OpenProject]:
    """Return what the answer of `$research-projects` tells a patient."""
    return [
        OpenProject(
            part.title, part.purpose, part.ethics, part.opened, part.to,
            tuple(part.values.get("type", ())),
        )
        for part in parse_multi_parts(answer, "project")
    ]  # fmt: skip


def parse_tables(answer: Resource) -> list[Table]:
    """Return the tables of the answer of `$research-catalogue`."""
    return [
        Table(
            view=part.view,
            resource=part.resource,
            rows=int(part.rows or 0),
            columns=tuple(
                Column(
                    column.name,
                    column.type,
                    column.unit,
                    column.meaning,
                    {each.language: each.value for each in column.parse_parts("designation")},
                )
                for column in part.parse_parts("column")
            ),
        )
        for part in parse_multi_parts(answer, "table")
    ]


def build_project_id(title: str, suffix: str) -> str:
    """Return an id for a new project, from its title where that has Latin letters.

    >>> build_project_id("Falls at home: who falls again?", "4f2a")
    'falls-at-home-who-falls-again-4f2a'
    >>> build_project_id("再次跌倒", "4f2a")
    'project-4f2a'
    """
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:_LONGEST_NAME].strip("-")
    return f"{words or 'project'}-{suffix}"


def _build_project(part: MultiPartParameter) -> Project:
    return Project(
        id=part.id,
        title=part.title,
        purpose=part.purpose,
        ethics=part.ethics,
        applicant=part.applicant,
        state=part.state,
        first_day=part.values.get("from", [""])[0],
        last_day=part.to,
        people=tuple(part.values.get("person", ())),
        items=tuple(part.values.get("item", ())),
        approvers=tuple(part.values.get("approver", ())),
        justifications={why.view: why.text for why in part.parse_parts("justification")},
        dates=part.dates,
        steps=tuple(
            Step(event.at, event.who, event.action, event.reason)
            for event in part.parse_parts("event")
        ),
        has_key=part.key == "true",
        digest=part.digest,
        rare_code_persons=int(part.values.get("rare-code-persons", ["0"])[0]),
        combined_dates=tuple(
            CombinedDates(
                each.project,
                round(100 * float(each.values["share-undone"][0])),
                each.values["shared-people"][0] == "true",
            )
            for each in part.parse_parts("combined-dates")
        ),
    )
