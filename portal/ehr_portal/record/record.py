"""A patient's record as one page: its sections, fetched side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from ehr_fhir.errors import Forbidden, NotFound
from ehr_fhir.news2 import SCALE_CODE, SCALE_SYSTEM
from ehr_portal.gateway.client import GatewayClient, Resource, SearchResults
from ehr_portal.i18n import fhir_timestamp
from ehr_portal.record.interpretations import CRITICAL, LEVELS
from ehr_portal.record.news2_observations import list_scale_decisions
from ehr_portal.record.providers import Provider, parse_provider
from ehr_portal.record.rows import RecordRow, build_row
from ehr_portal.record.section_content import SectionContent
from ehr_portal.record.sections import FIRST_PAGE, LEFT_COLUMN, Search, Section
from ehr_portal.record.timeline_sources import newest_first
from ehr_portal.record.trends import RECENT_CRITICAL, group_into_trends
from ehr_portal.record.usual_ranges import SATURATION_CODES, UsualRanges

# A long life has thousands of results; past this the oldest are left out. Chosen: four pages of
# PAGE_SIZE, so that one section costs the gateway four searches at most.
MAX_SECTION_ROWS = 2000
PAGE_SIZE = "500"
# Results that are read to find the newest of each test. Chosen: some days of an intensive ward's
# blood tests and rounds.
_RESULTS_READ = 60
# Further ones are read until RECENT_CRITICAL is covered, up to so many results. Chosen.
_MAX_RESULTS_READ = 600

T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """What the gateway shows this reader of a patient."""

    patient: Resource | None
    sections: tuple[SectionContent, ...]

    @property
    def columns(self) -> tuple[list[SectionContent], list[SectionContent]]:
        """Return the sections of the left and of the right column."""
        shown = [
            content for content in self.sections if content.size or not content.section.is_optional
        ]
        left = [content for content in shown if content.section.key in LEFT_COLUMN]
        right = [content for content in shown if content.section.key not in LEFT_COLUMN]
        return left, right

    @property
    def is_empty(self) -> bool:
        """Return whether nothing at all is visible."""
        return self.patient is None and not any(
            content.size or content.none_known for content in self.sections
        )


class SearchesOfOnePage:
    """The searches of one page, each sent once however many sections need it."""

    def __init__(self, gateway: GatewayClient, patient: str) -> None:
        self._gateway = gateway
        self._patient = patient
        self._tasks: dict[str, asyncio.Task[SearchResults | None]] = {}
        self._patient_task: asyncio.Task[Resource | None] | None = None

    @property
    def patient_id(self) -> str:
        """Return the id of the patient whose record it is."""
        return self._patient

    async def usual_ranges(self, observations: Iterable[Resource]) -> UsualRanges | None:
        """Return what is usual for the patient, as far as some observations need it."""
        usual = usual_ranges(await self.patient())
        return await add_scale_decisions(self._gateway, self._patient, usual, observations)

    async def patient(self) -> Resource | None:
        """Return the Patient, or None where it is not shown."""
        if self._patient_task is None:
            read = fetch_patient_or_none(self._gateway, self._patient)
            self._patient_task = asyncio.create_task(read)
        return await self._patient_task

    async def results(self, search: Search) -> SearchResults | None:
        """Return what a search finds; None where the reader's token does not cover it."""
        key = repr(search)
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._search(search))
        return await self._tasks[key]

    async def fetch_page(self, link: str) -> SearchResults:
        """Return the page that a next link of an earlier search leads to."""
        return await self._gateway.fetch_page(link)

    def use_page(self, search: Search, link: str) -> None:
        """Let a search find the page that a next link leads to; without a link, nothing."""
        page = none_if_forbidden(self._gateway.fetch_page(link) if link else _find_nothing())
        self._tasks[repr(search)] = asyncio.create_task(page)

    async def _search(self, search: Search) -> SearchResults | None:
        params = {search.patient_param: self._patient, "_count": PAGE_SIZE, **search.params}
        limit = MAX_SECTION_ROWS
        if search.newest is not None:
            limit = search.newest
            params["_count"] = str(limit)
            if order := newest_first(search.resource_type):
                params["_sort"] = order
        if search.has_total:
            params["_total"] = "accurate"
        return await none_if_forbidden(
            self._gateway.search_all(search.resource_type, params, limit=limit)
        )


async def _find_nothing() -> SearchResults:
    return SearchResults((), {}, None, None)


async def fetch_record(
    gateway: GatewayClient, patient: str, language: str, now: datetime | None = None
) -> Record:
    """Fetch what the first page shows of a patient's record."""
    searches = SearchesOfOnePage(gateway, patient)
    patient_resource, sections = await asyncio.gather(
        searches.patient(),
        asyncio.gather(
            *(
                (build_newest_trends if section.has_trends else build_section)(
                    searches, section, language, now
                )
                for section in FIRST_PAGE
            )
        ),
    )
    return Record(patient_resource, tuple(sections))


async def add_scale_decisions(
    gateway: GatewayClient,
    patient: str,
    usual: UsualRanges | None,
    observations: Iterable[Resource],
) -> UsualRanges | None:
    """Add to what is usual the patient's own target of the saturation, if one is shown."""
    if usual is None or not any(map(_measures_saturation, observations)):
        return usual
    params = {"patient": patient, "code": f"{SCALE_SYSTEM}|{SCALE_CODE}", "_count": "50"}
    found = await none_if_forbidden(gateway.search("Observation", params))
    return replace(usual, scale_decisions=list_scale_decisions(found.matches if found else ()))


def _measures_saturation(observation: Resource) -> bool:
    return any(
        coding.get("code") in SATURATION_CODES
        for part in (observation, *observation.get("component", ()))
        for coding in part.get("code", {}).get("coding", ())
    )


async def build_section(
    searches: SearchesOfOnePage,
    section: Section,
    language: str,
    now: datetime | None,
    *,
    is_older: bool = False,
) -> SectionContent:
    """Return one section with what the page's searches find of it.

    `is_older`: a page that follows another, on which what holds now stood.
    """
    answers = await asyncio.gather(*(searches.results(search) for search in section.searches))
    found = [results for results in answers if results is not None]
    # By type and id: one resource may be found by two searches.
    matches = {(r["resourceType"], r["id"]): r for results in found for r in results.matches}
    of_now = [
        results
        for search, results in zip(section.searches, answers, strict=True)
        if search.is_of_now
    ]
    content = SectionContent(
        section,
        is_unavailable=len(found) < len(answers),
        has_all_current=bool(of_now)
        and all(results is not None and results.next_link is None for results in of_now),
        is_incomplete=any(
            results is not None and results.next_link and search.newest is None
            for search, results in zip(section.searches, answers, strict=True)
        ),
        now=now,
    )
    if section.has_trends:
        usual = await searches.usual_ranges(matches.values())
        trends = group_into_trends(matches.values(), language, now, usual)
        return replace(content, trends=tuple(trends))
    included = {key: r for results in found for key, r in results.included.items()}
    rows = [build_row(resource, included, language, now) for resource in matches.values()]
    if section.social is not None:
        rows = [row for row in rows if row.is_social is section.social]
    if is_older:
        rows = [row for row in rows if not row.is_current]
    elif section.social:
        rows = _newest_findings_hold(rows)
    none_known = [row for row in rows if row.is_none_known]
    others = [row for row in rows if not row.is_none_known] if none_known else rows
    total = _count_all(section.searches, answers)
    return replace(
        content,
        rows=tuple(sort_rows(others)),
        total=None if total is None else total - len(none_known),
        none_known=tuple(row for row in none_known if not row.is_in_error),
    )


async def build_newest_trends(
    searches: SearchesOfOnePage, section: Section, language: str, now: datetime | None
) -> SectionContent:
    """Return a section of trends with its newest results, among which is each critical one."""
    (search,) = section.searches
    found = await fetch_newest_results(searches, search.params, now)
    usual = await searches.usual_ranges(found.matches)
    return found.content(section, language, now, usual)


@dataclass(frozen=True)
class NewestResults:
    """The newest Observations of a search."""

    matches: Sequence[Resource]
    is_unavailable: bool = False
    total: int | None = None
    is_incomplete: bool = False
    # Where the gateway has older ones.
    next_link: str | None = None

    def content(
        self, section: Section, language: str, now: datetime | None, usual: UsualRanges | None
    ) -> SectionContent:
        """Return the section with the trends of the results."""
        return SectionContent(
            section,
            trends=tuple(group_into_trends(self.matches, language, now, usual)),
            is_unavailable=self.is_unavailable,
            is_incomplete=self.is_incomplete,
            total=self.total,
            now=now,
        )


async def fetch_newest_results(
    searches: SearchesOfOnePage,
    params: Mapping[str, str],
    now: datetime | None,
    number: int = _RESULTS_READ,
) -> NewestResults:
    """Return the newest results, at least those among which a critical one stands first."""
    found = await searches.results(Search("Observation", params, newest=number, has_total=True))
    if found is None:
        return NewestResults((), is_unavailable=True)
    recent = (now - RECENT_CRITICAL).timestamp() if now else 0.0
    is_cut = found.next_link is not None and _oldest(found.matches) > recent
    if is_cut and now is not None:
        more = await searches.results(Search("Observation", params, newest=_MAX_RESULTS_READ))
        # The first search has counted.
        found = replace(more, total=found.total) if more else found
    return NewestResults(
        found.matches,
        total=found.total,
        is_incomplete=found.next_link is not None and _oldest(found.matches) > recent,
        next_link=found.next_link,
    )


def _oldest(observations: Sequence[Resource]) -> float:
    times = [fhir_timestamp(str(o.get("effectiveDateTime", ""))) for o in observations]
    return min((time for time in times if time), default=0.0)


def _count_all(searches: Sequence[Search], answers: Sequence[SearchResults | None]) -> int | None:
    """Return how many records the counting searches have in all; None where that is not known."""
    totals = [
        results.total
        for search, results in zip(searches, answers, strict=True)
        if search.has_total and results is not None
    ]
    known = [total for total in totals if total is not None]
    return sum(known) if known and len(known) == len(totals) else None


def _newest_findings_hold(rows: Iterable[RecordRow]) -> list[RecordRow]:
    """Return rows of which the newest Observation of each kind is what holds now."""
    newest: dict[str, RecordRow] = {}
    for row in sorted(rows, key=lambda row: fhir_timestamp(row.start)):
        if row.resource_type == "Observation" and not row.is_in_error:
            newest[str(row.title)] = row
    return [
        replace(row, is_current=True) if newest.get(str(row.title)) is row else row for row in rows
    ]


def usual_ranges(patient: Resource | None) -> UsualRanges | None:
    """Return what is usual for a patient; None where nothing is known of them."""
    return UsualRanges(str(patient["birthDate"])) if patient and "birthDate" in patient else None


def sort_rows(rows: Iterable[RecordRow]) -> list[RecordRow]:
    """Return what holds now first, the dangerous first, allergies to medicines next, the newest.

    What was entered by mistake comes last.
    """
    newest_first = sorted(rows, key=lambda row: fhir_timestamp(row.start), reverse=True)
    return sorted(
        newest_first,
        key=lambda row: (
            row.is_in_error,
            not row.is_current,
            row.level != CRITICAL,
            not row.is_drug_allergy,
            LEVELS.index(row.level),
        ),
    )


async def fetch_patient_or_none(gateway: GatewayClient, patient: str) -> Resource | None:
    """Return the Patient, or None where it is not shown."""
    try:
        return await gateway.read("Patient", patient)
    except NotFound:
        return None


async def fetch_providers(gateway: GatewayClient) -> dict[str, Provider]:
    """Return every organisation by id."""
    results = await gateway.search_all(
        "Organization", {"_count": PAGE_SIZE}, limit=MAX_SECTION_ROWS
    )
    return {organization["id"]: parse_provider(organization) for organization in results.matches}


async def fetch_consents(gateway: GatewayClient, patient: str) -> list[Resource]:
    """Return every Consent of a patient, in force or not."""
    params = {"patient": patient, "_count": PAGE_SIZE}
    results = await gateway.search_all("Consent", params, limit=MAX_SECTION_ROWS)
    return list(results.matches)


async def none_if_forbidden(fetch: Awaitable[T]) -> T | None:
    """Return what is fetched; None where the reader's token does not cover it."""
    # A token without the scope for one resource type still shows the others.
    try:
        return await fetch
    except (Forbidden, NotFound):
        return None
