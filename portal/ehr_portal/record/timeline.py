"""The timeline: everything of a record in time order, over all providers, one page at a time.

Each type is searched by its own date, the newest first, and the matches are merged. A page shows
whole days: down to the day after the last match of the type that has most, so that nothing older
of another type can be missing between. What has no date stands at the end of the last page.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import GatewayClient, SearchResults
from ehr_portal.i18n import fhir_timestamp
from ehr_portal.record.record import (
    MAX_SECTION_ROWS,
    PAGE_SIZE,
    none_if_forbidden,
)
from ehr_portal.record.rows import RecordRow, build_row
from ehr_portal.record.timeline_days import TimelineDay, TimelineEntry, group_by_day
from ehr_portal.record.timeline_sources import (
    FAR_FUTURE,
    KIND_TITLES,
    SOURCES,
    TimelineSource,
    date_bounds,
    end_of,
    start_of,
)

# Matches of each search, and of the second try where so many fall on one day. Chosen: a month of an
# ordinary life in the first, a day of intensive care in the second.
FIRST_COUNT, SECOND_COUNT = 30, 200
# Rounds of one page in which an author's records are looked for. Chosen: at most as many searches
# as a dozen pages without a filter.
MAX_ROUNDS = 12
# The first year that a reader can ask for is that of their birth; without one this. Chosen.
OLDEST_YEAR = 1900


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
        last = min(end_of(self.source, match) for match in self.results.matches)
        if last >= FAR_FUTURE:
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
        self.unavailable: set[str] = set()
        self._sources = [s for s in SOURCES if wanted.kind in ("", s.kind)]
        bounds = []
        self.since: datetime | None = None
        if wanted.year:
            year = int(wanted.year)
            self.since = start_of(date(max(year, 1), 1, 1))
            bounds.append(start_of(date(min(year, 9998) + 1, 1, 1)))
        if older_than:
            bounds.append(start_of(date.fromisoformat(older_than)))
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
        dates = [f"lt{(self.until or FAR_FUTURE).isoformat()}"]
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
    lower_bounds = [since, start_of(first_day) if first_day else None]
    earliest = max((bound.timestamp() for bound in lower_bounds if bound), default=-math.inf)
    latest = until.timestamp() if until else math.inf
    entries = {}
    for part in found:
        for match in part.results.matches:
            start = date_bounds(part.source, match)[0]
            if start and not earliest <= fhir_timestamp(start) < latest:
                continue
            row = build_row(match, part.results.included, language, now)
            # One resource may be found by two searches.
            entries[row.resource_type, row.id] = TimelineEntry(row, start)
    return list(entries.values())


def _build_rows(found: Sequence[_Found], language: str, now: datetime) -> list[RecordRow]:
    rows = {}
    for part in found:
        for match in part.results.matches:
            if not date_bounds(part.source, match)[0]:
                row = build_row(match, part.results.included, language, now)
                rows[row.resource_type, row.id] = row
    return list(rows.values())
