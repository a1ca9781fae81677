"""The pages of one section: the newest records with what holds now, then older ones.

The gateway pages each search by itself; a page's handle in the session holds its next links.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import datetime

from ehr_portal.record.record import (
    NewestResults,
    SearchesOfOnePage,
    build_section,
    fetch_newest_results,
)
from ehr_portal.record.section_content import SectionContent
from ehr_portal.record.sections import Section

__all__ = ["OlderPage", "SectionPage", "fetch_section_page", "parse_older_page"]

# Rows and results of each search on one page. Chosen: a long page is easier to search than many
# short ones; a year of an ordinary life's blood tests.
ROWS_PER_PAGE, RESULTS_PER_PAGE = 100, 200


@dataclass(frozen=True)
class OlderPage:
    """Where older records are: a next link for each search of the section, empty at its end."""

    links: tuple[str, ...]
    # All that holds now stood on the first page.
    has_shown_current: bool = False

    def __str__(self) -> str:
        """Return it as a session keeps it."""
        return json.dumps([self.has_shown_current, *self.links])


@dataclass(frozen=True)
class SectionPage:
    """One page of a section, and where the next one is."""

    content: SectionContent
    older: OlderPage | None = None


def parse_older_page(text: str) -> OlderPage | None:
    """Return where older records are, as a session keeps it; None for an empty text.

    >>> parse_older_page(str(OlderPage(("/fhir/Procedure?_cursor=x", ""))))
    OlderPage(links=('/fhir/Procedure?_cursor=x', ''), has_shown_current=False)
    """
    if not text:
        return None
    has_shown_current, *links = json.loads(text)
    return OlderPage(tuple(links), has_shown_current)


async def fetch_section_page(
    searches: SearchesOfOnePage,
    section: Section,
    language: str,
    now: datetime,
    older: OlderPage | None,
) -> SectionPage:
    """Fetch one page of a section: the first, or what another page's `older` leads to."""
    if section.is_whole:
        return SectionPage(await build_section(searches, section, language, now))
    if section.has_trends:
        return await _fetch_trends(searches, section, language, now, older)
    paged = section.newest(ROWS_PER_PAGE)
    newest = paged.searches[: len(section.searches)]
    if older is None:
        content = await build_section(searches, paged, language, now)
        has_shown_current = content.has_all_current
    else:
        for search, link in zip(newest, older.links, strict=True):
            searches.use_page(search, link)
        has_shown_current = older.has_shown_current
        content = await build_section(
            searches, replace(paged, searches=newest), language, now, is_older=has_shown_current
        )
    # Each was answered above.
    answers = await asyncio.gather(*(searches.results(search) for search in newest))
    links = tuple((answer.next_link or "") if answer else "" for answer in answers)
    return SectionPage(content, OlderPage(links, has_shown_current) if any(links) else None)


async def _fetch_trends(
    searches: SearchesOfOnePage,
    section: Section,
    language: str,
    now: datetime,
    older: OlderPage | None,
) -> SectionPage:
    """Fetch the newest results, or a page of older ones, by test."""
    (search,) = section.searches
    if older is None:
        found = await fetch_newest_results(searches, search.params, now, RESULTS_PER_PAGE)
    else:
        page = await searches.fetch_page(older.links[0])
        found = NewestResults(page.matches, next_link=page.next_link)
    usual = await searches.usual_ranges(found.matches)
    content = found.content(section, language, now, usual)
    return SectionPage(content, OlderPage((found.next_link,)) if found.next_link else None)
