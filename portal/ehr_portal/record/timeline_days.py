"""The days of the timeline: records by day, and within a day by the visit they were recorded at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import fhir_timestamp, has_time_of_day
from ehr_portal.record.ages import day_of
from ehr_portal.record.interpretations import LEVELS
from ehr_portal.record.rows import RecordRow


@dataclass(frozen=True)
class TimelineEntry:
    """One record at its place in time."""

    row: RecordRow
    # A FHIR date of any precision; empty where there is none.
    date: str


@dataclass(frozen=True)
class TimelineGroup:
    """What belongs together on a day: a visit with what was recorded at it, or what has none."""

    visit: RecordRow | None
    rows: tuple[RecordRow, ...]


@dataclass(frozen=True)
class TimelineDay:
    """One day; a month or a year where the records say no more."""

    date: str
    groups: tuple[TimelineGroup, ...]


def group_by_day(entries: Iterable[TimelineEntry]) -> tuple[TimelineDay, ...]:
    """Return entries by day, the newest first; within a day by visit."""
    by_day: dict[str, list[TimelineEntry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: fhir_timestamp(entry.date), reverse=True):
        by_day[_day_of(entry.date)].append(entry)
    return tuple(TimelineDay(day, _group_by_visit(found)) for day, found in by_day.items())


def _group_by_visit(entries: Sequence[TimelineEntry]) -> tuple[TimelineGroup, ...]:
    visits = {
        f"Encounter/{entry.row.id}": entry.row
        for entry in entries
        if entry.row.resource_type == "Encounter"
    }
    by_visit: dict[str, list[RecordRow]] = {reference: [] for reference in visits}
    others: list[RecordRow] = []
    for entry in entries:
        if entry.row.resource_type == "Encounter":
            continue
        visit = visit_of(entry.row.resource)
        (by_visit[visit] if visit in by_visit else others).append(entry.row)
    groups = [
        TimelineGroup(visits[reference], _dangerous_first(rows))
        for reference, rows in by_visit.items()
    ]
    return (*groups, *([TimelineGroup(None, _dangerous_first(others))] if others else ()))


def _dangerous_first(rows: Iterable[RecordRow]) -> tuple[RecordRow, ...]:
    def level(row: RecordRow) -> int:
        levels = [row.level, *([row.result.level] if row.result else [])]
        return min(LEVELS.index(level) for level in levels)

    return tuple(sorted(rows, key=lambda row: (row.is_in_error, level(row))))


def visit_of(resource: Resource) -> str:
    """Return the reference of the visit at which something was recorded, empty without one.

    >>> visit_of({"context": {"encounter": [{"reference": "Encounter/7"}]}})
    'Encounter/7'
    """
    context = resource.get("context", {})
    references = [resource.get("encounter"), context, *context.get("encounter", ())]
    for reference in references:
        if isinstance(reference, Mapping) and "reference" in reference:
            return str(reference["reference"])
    return ""


def _day_of(fhir_date: str) -> str:
    """Return the day of a FHIR date in the jurisdiction's zone, or the date where it is less."""
    if not has_time_of_day(fhir_date):
        return fhir_date
    return day_of(datetime.fromtimestamp(fhir_timestamp(fhir_date), UTC))
