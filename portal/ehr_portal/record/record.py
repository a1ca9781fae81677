"""A patient's record as one page: its sections, fetched side by side."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from ehr_fhir.errors import Forbidden, NotFound
from ehr_portal.gateway.client import GatewayClient, Resource, SearchResults
from ehr_portal.i18n import fhir_timestamp
from ehr_portal.record.interpretations import CRITICAL, LEVELS
from ehr_portal.record.news2_observations import (
    SCALE_CODE,
    SCALE_SYSTEM,
    list_scale_decisions,
)
from ehr_portal.record.providers import Provider, parse_provider
from ehr_portal.record.rows import RecordRow, build_row
from ehr_portal.record.sections import FIRST_PAGE, LEFT_COLUMN, Search, Section
from ehr_portal.record.trends import Trend, group_into_trends
from ehr_portal.record.usual_ranges import SATURATION_CODES, UsualRanges

# A long life has thousands of results; past this the oldest are left out. Chosen: four pages of
# PAGE_SIZE, so that one section costs the gateway four searches at most.
MAX_SECTION_ROWS = 2000
PAGE_SIZE = "500"
# Rows of the past on the first page. Chosen: enough to say that there is a past.
MAX_PAST_ROWS = 3

T = TypeVar("T")


@dataclass(frozen=True)
class SectionContent:
    """One section with what was found in it: rows, newest first, or else trends."""

    section: Section
    rows: tuple[RecordRow, ...] = ()
    trends: tuple[Trend, ...] = ()
    # Statements such as "no known allergies", apart from what is known.
    none_known: tuple[RecordRow, ...] = ()
    # The reader's token does not cover these records: nobody can say whether there are any.
    is_unavailable: bool = False
    # There are more than were fetched.
    is_incomplete: bool = False
    # How many there are in all, of a section of which only the newest are fetched.
    total: int | None = None
    now: datetime | None = None

    @property
    def current(self) -> tuple[RecordRow, ...]:
        """Return what holds now, of a section that tells that apart; else all."""
        if not self.section.splits_past:
            return self.rows
        return tuple(row for row in self.rows if row.is_current)

    @property
    def past(self) -> tuple[RecordRow, ...]:
        """Return what holds no longer, of a section that tells that apart."""
        if not self.section.splits_past:
            return ()
        return tuple(row for row in self.rows if not row.is_current)

    @property
    def preview(self) -> list[tuple[RecordRow, int]]:
        """Return the first page's rows, each with how many rows have its title."""
        return self._first_rows(self.current, self.section.preview_size)

    @property
    def past_preview(self) -> list[tuple[RecordRow, int]]:
        """Return what the first page shows of the past, after all that holds now."""
        size = self.section.preview_size
        if size is not None:
            size = min(MAX_PAST_ROWS, max(0, size - len(self.preview)))
        return self._first_rows(self.past, size)

    @property
    def trend_preview(self) -> tuple[Trend, ...]:
        """Return the first page's trends; what is critical now is never cut."""
        critical = sum(trend.is_critical_now(self.now) for trend in self.trends)
        size = self.section.preview_size
        return self.trends if size is None else self.trends[: max(size, critical)]

    @property
    def size(self) -> int:
        """Return how many lines the section has in all."""
        return len(self.trends) if self.section.has_trends else len(self.rows)

    @property
    def whole_size(self) -> int:
        """Return how many there are, also of those that were not fetched."""
        return self.size if self.total is None else self.total

    @property
    def has_older_results(self) -> bool:
        """Return whether there are more results than its trends are made of."""
        return self.whole_size > sum(len(trend.points) for trend in self.trends)

    @property
    def is_cut(self) -> bool:
        """Return whether the first page shows less than there is."""
        shown = len(self.preview) + len(self.past_preview)
        return bool(self.size and self.section.has_trends) or self.size > shown

    @property
    def is_contradicted(self) -> bool:
        """Return whether somebody stated that there is none, and there is."""
        return bool(self.none_known and self.current)

    def is_withheld(self, domains: Sequence[str]) -> bool:
        """Return whether something of the withheld data domains would stand here."""
        return not set(domains).isdisjoint(self.section.domains)

    def _first_rows(
        self, rows: tuple[RecordRow, ...], size: int | None
    ) -> list[tuple[RecordRow, int]]:
        if not self.section.groups_titles:
            return [(row, 1) for row in rows[:size]]
        kinds = [self._kind_of(row) for row in rows]
        counts = Counter(kinds)
        newest = {kind: row for kind, row in zip(reversed(kinds), reversed(rows), strict=True)}
        first = [
            (row, counts[kind])
            for kind, row in zip(kinds, rows, strict=True)
            if newest[kind] is row
        ]
        return first[:size]

    def _kind_of(self, row: RecordRow) -> str:
        """Return what rows have to share to be one line: of what holds now, all that they say."""
        if self.section.splits_past and row.is_current:
            return "|".join(str(text) for text in (row.title, *row.details))
        return str(row.title)


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

    async def _search(self, search: Search) -> SearchResults | None:
        params = {search.patient_param: self._patient, "_count": PAGE_SIZE, **search.params}
        limit = MAX_SECTION_ROWS
        if search.newest is not None:
            limit = search.newest
            params |= {"_count": str(limit), "_sort": "-date"}
        if search.has_total:
            params["_total"] = "accurate"
        return await none_if_forbidden(
            self._gateway.search_all(search.resource_type, params, limit=limit)
        )


async def fetch_record(
    gateway: GatewayClient, patient: str, language: str, now: datetime | None = None
) -> Record:
    """Fetch every section of a patient's record."""
    searches = SearchesOfOnePage(gateway, patient)
    patient_resource, sections = await asyncio.gather(
        searches.patient(),
        asyncio.gather(
            *(build_section(searches, section, language, now) for section in FIRST_PAGE)
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
    searches: SearchesOfOnePage, section: Section, language: str, now: datetime | None
) -> SectionContent:
    """Return one section with what the page's searches find of it."""
    answers = await asyncio.gather(*(searches.results(search) for search in section.searches))
    found = [results for results in answers if results is not None]
    # By type and id: one resource may be found by two searches.
    matches = {(r["resourceType"], r["id"]): r for results in found for r in results.matches}
    content = SectionContent(
        section,
        is_unavailable=len(found) < len(answers),
        is_incomplete=any(
            results is not None and results.next_link and search.newest is None
            for search, results in zip(section.searches, answers, strict=True)
        ),
        total=sum(results.total or 0 for results in found) if _has_total(section) else None,
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
    if section.social:
        rows = _newest_findings_hold(rows)
    none_known = [row for row in rows if row.is_none_known]
    others = [row for row in rows if not row.is_none_known] if none_known else rows
    return replace(
        content,
        rows=tuple(sort_rows(others)),
        none_known=tuple(row for row in none_known if not row.is_in_error),
    )


def _has_total(section: Section) -> bool:
    return any(search.has_total for search in section.searches)


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
