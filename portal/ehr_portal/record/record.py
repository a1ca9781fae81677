"""A patient's record as one page: its sections, fetched side by side."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass

from ehr_fhir.errors import Forbidden, NotFound
from ehr_portal.gateway.client import GatewayClient, Resource, SearchResults
from ehr_portal.record.providers import Provider, parse_provider
from ehr_portal.record.risk_scores import RiskScore, newest_risk_scores
from ehr_portal.record.rows import RecordRow, build_row
from ehr_portal.record.sections import LEFT_COLUMN, SECTIONS, Section
from ehr_portal.record.trends import Trend, group_into_trends

# A long life has thousands of results; past this the oldest are left out. Chosen: four pages of
# PAGE_SIZE, so that one section costs the gateway four searches at most.
MAX_SECTION_ROWS = 2000
PAGE_SIZE = "500"


@dataclass(frozen=True)
class SectionContent:
    """One section with what was found in it: rows, newest first, or else trends."""

    section: Section
    rows: tuple[RecordRow, ...]
    trends: tuple[Trend, ...]

    @property
    def preview(self) -> list[tuple[RecordRow, int]]:
        """Return the first page's rows, each with how many rows have its title."""
        if not self.section.groups_titles:
            return [(row, 1) for row in self.rows[: self.section.preview_size]]
        counts = Counter(row.title for row in self.rows)
        newest_by_title = {row.title: row for row in reversed(self.rows)}
        newest = [row for row in self.rows if newest_by_title[row.title] is row]
        return [(row, counts[row.title]) for row in newest[: self.section.preview_size]]

    @property
    def size(self) -> int:
        """Return how many lines the section has in all."""
        return len(self.trends) if self.section.has_trends else len(self.rows)


@dataclass(frozen=True)
class Record:
    """What the gateway shows this reader of a patient."""

    patient: Resource | None
    sections: tuple[SectionContent, ...]
    risk_scores: tuple[RiskScore, ...]

    @property
    def columns(self) -> tuple[list[SectionContent], list[SectionContent]]:
        """Return the sections of the left and of the right column."""
        left = [content for content in self.sections if content.section.key in LEFT_COLUMN]
        right = [content for content in self.sections if content.section.key not in LEFT_COLUMN]
        return left, right

    @property
    def is_empty(self) -> bool:
        """Return whether nothing at all is visible."""
        return self.patient is None and not any(content.size for content in self.sections)


async def fetch_record(gateway: GatewayClient, patient: str, language: str) -> Record:
    """Fetch every section of a patient's record."""
    patient_resource, risk_scores, sections = await asyncio.gather(
        fetch_patient_or_none(gateway, patient),
        _fetch_risk_scores(gateway, patient),
        asyncio.gather(
            *(fetch_section(gateway, patient, section, language) for section in SECTIONS)
        ),
    )
    return Record(patient_resource, tuple(sections), risk_scores)


async def fetch_section(
    gateway: GatewayClient, patient: str, section: Section, language: str
) -> SectionContent:
    """Fetch one section of a patient's record."""
    params = {"patient": patient, "_count": PAGE_SIZE, **section.params}
    results = await _empty_if_forbidden(
        gateway.search_all(section.resource_type, params, limit=MAX_SECTION_ROWS)
    )
    if section.has_trends:
        return SectionContent(section, (), tuple(group_into_trends(results.matches, language)))
    rows = [build_row(resource, results.included, language) for resource in results.matches]
    # Two stable sorts: what holds now comes first, clinical before social; in each, the newest.
    rows.sort(key=lambda row: row.start, reverse=True)
    rows.sort(key=lambda row: (not row.is_current, not row.is_clinical))
    return SectionContent(section, tuple(rows), ())


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


async def _fetch_risk_scores(gateway: GatewayClient, patient: str) -> tuple[RiskScore, ...]:
    results = await _empty_if_forbidden(
        gateway.search("RiskAssessment", {"patient": patient, "_count": "50"})
    )
    return newest_risk_scores(results.matches)


async def _empty_if_forbidden(search: Awaitable[SearchResults]) -> SearchResults:
    # A token without the scope for one resource type still shows the others.
    try:
        return await search
    except (Forbidden, NotFound):
        return SearchResults((), {}, 0, None)
