"""The timeline: everything of a record in time order, over all providers, one page at a time.

Each type is searched by its own date, the newest first, and the matches are merged. A page shows
whole days: down to the day after the last match of the type that has most, so that nothing older
of another type can be missing between. What has no date stands at the end of the last page.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import GatewayClient, Resource, SearchResults
from ehr_portal.i18n import N_, day_start, fhir_timestamp
from ehr_portal.record.interpretations import LEVELS
from ehr_portal.record.record import (
    MAX_SEARCHES_AT_ONCE,
    MAX_SECTION_ROWS,
    PAGE_SIZE,
    none_if_forbidden,
)
from ehr_portal.record.rows import RecordRow, build_row

# Matches of each search, and of the second try where so many fall on one day. Chosen: a month of an
# ordinary life in the first, a day of intensive care in the second.
FIRST_COUNT, SECOND_COUNT = 30, 200
# Rounds of one page in which an author's records are looked for. Chosen: at most as many searches
# as a dozen pages without a filter.
MAX_ROUNDS = 12
# The first year that a reader can ask for is that of their birth; without one this. Chosen.
OLDEST_YEAR = 1900

KIND_TITLES = {
    "visits": N_("Visits"),
    "problems": N_("Health problems"),
    "allergies": N_("Allergies"),
    "medicines": N_("Medicines"),
    "immunisations": N_("Immunisations"),
    "results": N_("Test results"),
    "measurements": N_("Measurements and findings"),
    "reports": N_("Reports and scans"),
    "procedures": N_("Procedures"),
    "documents": N_("Documents"),
    "plans": N_("Appointments, plans and referrals"),
    "more": N_("Other records"),
}


@dataclass(frozen=True)
class TimelineSource:
    """One search of the timeline: a type, and the date by which it stands there."""

    resource_type: str
    # A key of KIND_TITLES.
    kind: str
    # The search parameter of the date; empty for a type that has none.
    date_param: str
    # The element that the parameter is about, without the ending of its datatype.
    date_element: str
    params: Mapping[str, str] = field(default_factory=dict)
    patient_param: str = "patient"
    # Those without this date have another one, by which a source of their own finds them.
    has_other_date: bool = False


_LABORATORY = "laboratory"
SOURCES = (
    TimelineSource("Encounter", "visits", "date", "period"),
    TimelineSource("EpisodeOfCare", "visits", "date", "period"),
    TimelineSource("Condition", "problems", "onset-date", "onset", has_other_date=True),
    # An onset in words or as an age is no date.
    TimelineSource(
        "Condition", "problems", "recorded-date", "recordedDate", {"onset-date:missing": "true"}
    ),
    TimelineSource("FamilyMemberHistory", "problems", "date", "date"),
    TimelineSource("AllergyIntolerance", "allergies", "date", "recordedDate"),
    TimelineSource("AdverseEvent", "allergies", "date", "date", patient_param="subject"),
    TimelineSource(
        "MedicationRequest", "medicines", "authoredon", "authoredOn",
        {"_include": "MedicationRequest:medication"},
    ),
    TimelineSource(
        "MedicationStatement", "medicines", "effective", "effective",
        {"_include": "MedicationStatement:medication"},
    ),
    TimelineSource(
        "MedicationAdministration", "medicines", "effective-time", "effective",
        {"_include": "MedicationAdministration:medication"},
    ),
    TimelineSource(
        "MedicationDispense", "medicines", "whenhandedover", "whenHandedOver",
        {"_include": "MedicationDispense:medication"},
    ),
    TimelineSource("Immunization", "immunisations", "date", "occurrence"),
    TimelineSource("ImmunizationRecommendation", "immunisations", "date", "date"),
    TimelineSource("ImmunizationEvaluation", "immunisations", "date", "date"),
    TimelineSource("Observation", "results", "date", "effective", {"category": _LABORATORY}),
    TimelineSource(
        "Observation", "measurements", "date", "effective", {"category:not": _LABORATORY}
    ),
    TimelineSource("QuestionnaireResponse", "measurements", "authored", "authored"),
    TimelineSource("ClinicalImpression", "measurements", "date", "date"),
    TimelineSource("DiagnosticReport", "reports", "date", "effective"),
    TimelineSource("ImagingStudy", "reports", "started", "started"),
    TimelineSource("Media", "reports", "created", "created"),
    TimelineSource("Specimen", "reports", "collected", "collection.collected"),
    TimelineSource("Procedure", "procedures", "date", "performed"),
    TimelineSource("DeviceRequest", "procedures", "authored-on", "authoredOn"),
    TimelineSource("DeviceUseStatement", "procedures", "", ""),
    TimelineSource("Device", "procedures", "", ""),
    TimelineSource("DocumentReference", "documents", "date", "date"),
    TimelineSource("Composition", "documents", "date", "date"),
    TimelineSource("Communication", "documents", "sent", "sent"),
    TimelineSource("Appointment", "plans", "date", "start"),
    TimelineSource("CarePlan", "plans", "date", "period"),
    TimelineSource("Goal", "plans", "start-date", "start"),
    TimelineSource("ServiceRequest", "plans", "authored", "authoredOn"),
    TimelineSource("CareTeam", "plans", "date", "period"),
    TimelineSource("Flag", "more", "date", "period"),
    TimelineSource("DetectedIssue", "more", "identified", "identified"),
    TimelineSource("List", "more", "date", "date"),
)  # fmt: skip


@dataclass(frozen=True)
class TimelineFilter:
    """What a reader wants to see of the timeline; empty for everything."""

    kind: str = ""
    # The id of the organisation that wrote it.
    organization: str = ""
    year: str = ""

    @property
    def is_active(self) -> bool:
        """Return whether anything is left out."""
        return bool(self.kind or self.organization or self.year)


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


@dataclass(frozen=True)
class TimelinePage:
    """One page of the timeline, the newest day first."""

    days: tuple[TimelineDay, ...]
    # Records without a date, on the last page only.
    undated: tuple[RecordRow, ...] = ()
    # The next page has what is older than this day (ISO 8601); empty on the last page.
    older_than: str = ""
    # Not everything of this page was fetched.
    is_incomplete: bool = False
    # Kinds that the reader's token does not cover.
    unavailable: tuple[str, ...] = ()


def parse_filter(kind: str, organization: str, year: str) -> TimelineFilter:
    """Return the filter of a form; what is no kind or year filters nothing.

    >>> parse_filter("results", "", "19999")
    TimelineFilter(kind='results', organization='', year='')
    """
    is_year = len(year) == 4 and year.isascii() and year.isdigit()
    return TimelineFilter(
        kind if kind in KIND_TITLES else "",
        organization if organization.replace("-", "").replace(".", "").isalnum() else "",
        year if is_year else "",
    )


async def fetch_timeline(
    gateway: GatewayClient,
    patient: str,
    language: str,
    now: datetime,
    wanted: TimelineFilter,
    older_than: str = "",
) -> TimelinePage:
    """Fetch one page: what is older than a day, or from the newest on."""
    for _ in range(MAX_ROUNDS):
        page = await _fetch_round(gateway, patient, language, now, wanted, older_than)
        if page.days or page.undated or not page.older_than:
            break
        # Of one author's records the rounds are those of everything: some have nothing of it.
        older_than = page.older_than
    return page


async def _fetch_round(
    gateway: GatewayClient,
    patient: str,
    language: str,
    now: datetime,
    wanted: TimelineFilter,
    older_than: str,
) -> TimelinePage:
    search = _TimelineSearch(gateway, patient, wanted, older_than)
    found = await search.fetch()
    while True:
        first_day = _first_whole_day(found)
        entries = _entries_between(found, search.since, first_day, search.until, language, now)
        if first_day is None or any(entry.date for entry in entries):
            break
        # More than was fetched falls on one day, or goes on to this day: ask for more of that.
        found = await search.fetch_more(found, first_day)
    undated = [entry.row for entry in entries if not entry.date]
    if first_day is None and not wanted.year:
        undated += _build_rows(await search.fetch_undated(), language, now)
    return TimelinePage(
        days=group_by_day(e for e in entries if e.date and _is_by(wanted.organization, e.row)),
        undated=tuple(row for row in undated if _is_by(wanted.organization, row)),
        older_than=first_day.isoformat() if first_day else "",
        is_incomplete=any(part.results.next_link and not part.is_cut for part in found),
        unavailable=tuple(sorted(search.unavailable)),
    )


def _is_by(organization: str, row: RecordRow) -> bool:
    # A record's author is named by one of several elements, so no search parameter has it.
    return organization in ("", row.author)


def group_by_day(entries: Iterable[TimelineEntry]) -> tuple[TimelineDay, ...]:
    """Return entries by day, the newest first; within a day by visit."""
    by_day: dict[str, list[TimelineEntry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: fhir_timestamp(entry.date), reverse=True):
        by_day[_day_of(entry.date)].append(entry)
    return tuple(TimelineDay(day, _group_by_visit(found)) for day, found in by_day.items())


# Later than any date of a record: the end of a period that has none.
_FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _Found:
    source: TimelineSource
    results: SearchResults
    # How many were asked for; None for all that are served.
    count: int | None

    @property
    def is_cut(self) -> bool:
        """Return whether older matches were not fetched and can be."""
        return self.results.next_link is not None and self.count is not None

    @property
    def first_whole_day(self) -> date | None:
        """Return the first day of which everything was fetched; None where all was.

        Searches go by the end of a period or of an imprecise date, downwards: what was not fetched
        ended, and so began, no later than the last match did.
        """
        if not self.is_cut or not self.results.matches:
            return None
        last = min(_end_of(self.source, match) for match in self.results.matches)
        if last >= _FAR_FUTURE:
            return date.max
        return last.astimezone(JURISDICTION.zone).date() + timedelta(days=1)


class _TimelineSearch:
    """The searches of one page."""

    def __init__(
        self, gateway: GatewayClient, patient: str, wanted: TimelineFilter, older_than: str
    ) -> None:
        self._gateway = gateway
        self._patient = patient
        self._wanted = wanted
        self._slots = asyncio.Semaphore(MAX_SEARCHES_AT_ONCE)
        self.unavailable: set[str] = set()
        self._sources = [s for s in SOURCES if wanted.kind in ("", s.kind)]
        bounds = []
        self.since: datetime | None = None
        if wanted.year:
            year = int(wanted.year)
            self.since = _start_of(date(max(year, 1), 1, 1))
            bounds.append(_start_of(date(min(year, 9998) + 1, 1, 1)))
        if older_than:
            bounds.append(_start_of(date.fromisoformat(older_than)))
        self.until = min(bounds, default=None)

    async def fetch(self) -> list[_Found]:
        """Return the newest matches of each source that has a date."""
        sources = [source for source in self._sources if source.date_param]
        return await self._fetch_sources((source, FIRST_COUNT) for source in sources)

    async def fetch_more(self, found: Sequence[_Found], first_day: date) -> list[_Found]:
        """Return the same with more of the sources of which nothing was whole after `first_day`."""
        enough = [part for part in found if part.first_whole_day != first_day]
        wider = [part for part in found if part.first_whole_day == first_day]
        return enough + await self._fetch_sources(
            (part.source, SECOND_COUNT if part.count == FIRST_COUNT else None) for part in wider
        )

    async def fetch_undated(self) -> list[_Found]:
        """Return what has no date, of each type."""
        found = await asyncio.gather(
            *(self._fetch_undated(source) for source in self._sources if not source.has_other_date)
        )
        return [part for part in found if part is not None]

    async def _fetch_sources(
        self, wanted: Iterable[tuple[TimelineSource, int | None]]
    ) -> list[_Found]:
        found = await asyncio.gather(*(self._fetch_source(*source) for source in wanted))
        return [part for part in found if part is not None]

    async def _fetch_source(self, source: TimelineSource, count: int | None) -> _Found | None:
        # A period is found by where it begins (`lt`) and ends (`ge`): what began earlier than
        # `since` is taken out afterwards.
        # Without an upper bound what has no date would be found too, after everything else.
        dates = [f"lt{(self.until or _FAR_FUTURE).isoformat()}"]
        dates += [f"ge{self.since.isoformat()}"] if self.since else []
        params: dict[str, Any] = {
            source.date_param: dates,
            "_sort": f"-{source.date_param}",
            "_count": str(count or PAGE_SIZE),
        }
        return await self._search(source, params, count)

    async def _fetch_undated(self, source: TimelineSource) -> _Found | None:
        params: dict[str, Any] = {"_count": PAGE_SIZE}
        if source.date_param:
            params[f"{source.date_param}:missing"] = "true"
        return await self._search(source, params, None)

    async def _search(
        self, source: TimelineSource, params: dict[str, Any], count: int | None
    ) -> _Found | None:
        params |= {source.patient_param: self._patient, **source.params}
        limit = MAX_SECTION_ROWS if count is None else 1
        async with self._slots:
            results = await none_if_forbidden(
                self._gateway.search_all(source.resource_type, params, limit=limit)
            )
        if results is None:
            self.unavailable.add(source.kind)
            return None
        return _Found(source, results, count)


def _first_whole_day(found: Sequence[_Found]) -> date | None:
    """Return the first day of which everything was fetched of all sources; None where all was."""
    return max((day for part in found if (day := part.first_whole_day)), default=None)


def _entries_between(
    found: Sequence[_Found],
    since: datetime | None,
    first_day: date | None,
    until: datetime | None,
    language: str,
    now: datetime,
) -> list[TimelineEntry]:
    if first_day == date.max:
        return []
    lowest = [bound.timestamp() for bound in (since,) if bound]
    lowest += [_start_of(first_day).timestamp()] if first_day else []
    entries = {}
    for part in found:
        for match in part.results.matches:
            start = _date_of(part.source, match)[0]
            stamp = fhir_timestamp(start)
            if start and (
                any(stamp < bound for bound in lowest)
                or (until is not None and stamp >= until.timestamp())
            ):
                continue
            row = build_row(match, part.results.included, language, now)
            # One resource may be found by two searches.
            entries[row.resource_type, row.id] = TimelineEntry(row, start)
    return list(entries.values())


def _build_rows(found: Sequence[_Found], language: str, now: datetime) -> list[RecordRow]:
    rows = {}
    for part in found:
        for match in part.results.matches:
            if not _date_of(part.source, match)[0]:
                row = build_row(match, part.results.included, language, now)
                rows[row.resource_type, row.id] = row
    return list(rows.values())


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


def _date_of(source: TimelineSource, resource: Resource) -> tuple[str, str]:
    """Return start and end of the element by which a record stands in the timeline."""
    if not source.date_element:
        return "", ""
    *path, name = source.date_element.split(".")
    parent: Any = resource
    for part in path:
        parent = parent.get(part, {})
    periods = (parent.get(key) for key in (name, f"{name}Period"))
    period: Resource = next((value for value in periods if isinstance(value, Mapping)), {})
    if period:
        # A period without a beginning stands where it ends.
        return str(period.get("start") or period.get("end", "")), str(period.get("end", ""))
    for key in (name, f"{name}DateTime", f"{name}Instant", f"{name}Date"):
        if isinstance(parent.get(key), str):
            return parent[key], parent[key]
    events = parent.get(f"{name}Timing", {}).get("event", ())
    return (min(events), max(events)) if events else ("", "")


def _end_of(source: TimelineSource, resource: Resource) -> datetime:
    end = _date_of(source, resource)[1]
    if not end:
        return _FAR_FUTURE
    if len(end) == 4:
        return _start_of(date(min(int(end), 9998) + 1, 1, 1))
    if len(end) == 7:
        first = date.fromisoformat(f"{end}-01")
        return _start_of((first + timedelta(days=32)).replace(day=1))
    return datetime.fromtimestamp(fhir_timestamp(end), UTC)


def _day_of(fhir_date: str) -> str:
    """Return the day of a FHIR date in the jurisdiction's zone, or the date where it is less."""
    if len(fhir_date) <= len("2026-11-22"):
        return fhir_date
    stamp = fhir_timestamp(fhir_date)
    return datetime.fromtimestamp(stamp, JURISDICTION.zone).date().isoformat()


def _start_of(day: date) -> datetime:
    return datetime.fromisoformat(day_start(day))
