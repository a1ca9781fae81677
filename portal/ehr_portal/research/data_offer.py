"""What a project's data items let a cohort ask for: of the person, and which dated events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.oversight.research_projects import Table

PERSON_TABLE = "patient_demographics"
_DATE_TYPES = frozenset({"date", "dateTime", "instant"})
_PERSON_COLUMN = "patient_id"


@dataclass(frozen=True)
class EventSource:
    """Dated rows of a view, told apart by the codes in one of its columns."""

    view: str
    # The FHIR type that its rows are made of.
    resource: str
    # The column with the date from which days are counted.
    date: str
    # Empty: all rows of the view.
    code: str = ""

    @property
    def key(self) -> str:
        """The value of its option in a form."""
        return f"{self.view}.{self.code}"


@dataclass(frozen=True)
class DataOffer:
    """What a form of a cohort may ask for."""

    has_age: bool
    has_sex: bool
    # Values of the person's region; none where it is not granted.
    regions: tuple[str, ...]
    sources: tuple[EventSource, ...]

    def find_source(self, key: str) -> EventSource | None:
        """Return the source of an option; None where the project has no such."""
        return next((source for source in self.sources if source.key == key), None)

    @property
    def sources_by_view(self) -> dict[str, list[EventSource]]:
        """Its sources by view, those of a code first."""
        views: dict[str, list[EventSource]] = {}
        for source in self.sources:
            views.setdefault(source.view, []).append(source)
        return views


def build_offer(tables: Iterable[Table], items: Collection[str]) -> DataOffer:
    """Return what a project may ask for: `items` are its approved `view.column`."""
    return DataOffer(
        has_age=f"{PERSON_TABLE}.birth_year" in items,
        has_sex=f"{PERSON_TABLE}.gender" in items,
        regions=tuple(sorted(set(JURISDICTION.regions.values())))
        if f"{PERSON_TABLE}.region" in items
        else (),
        sources=tuple(source for table in tables for source in _list_sources(table, items)),
    )


def _list_sources(table: Table, items: Collection[str]) -> Iterator[EventSource]:
    granted = [column for column in table.columns if f"{table.view}.{column.name}" in items]
    dates = [column.name for column in granted if column.type in _DATE_TYPES]
    if not dates or _PERSON_COLUMN not in {column.name for column in granted}:
        return
    codes = [column.name for column in granted if column.type == "code"]
    # What says what a row is about stands first, then its class and states.
    for code in [*sorted(codes, key=lambda name: "code" not in name), ""]:
        yield EventSource(table.view, table.resource, dates[0], code)
