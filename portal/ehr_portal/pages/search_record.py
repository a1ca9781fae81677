"""Search in the patient's own record: the words are sent by POST and stand in no address."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_portal.gateway.client import SearchResults
from ehr_portal.i18n import fhir_timestamp
from ehr_portal.pages.record_views import record_template_values
from ehr_portal.record.providers import Provider
from ehr_portal.record.record import none_if_forbidden
from ehr_portal.record.record_search import (
    RecordSearch,
    build_searches,
    mark_words,
    parse_words,
    search_params,
    section_of,
)
from ehr_portal.record.rows import RecordRow, build_row
from ehr_portal.record.sections import SECTIONS, Section
from ehr_portal.web.forms import PatientForm
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import RecordReaderRequest

router = APIRouter()
_MAX_TYPED_CHARACTERS = 100
# Matches of one search; where there are more the page says so. Chosen: what somebody reads through.
_MAX_MATCHES = "100"
# Searches that run at the same time: by POST, which no batch takes. A few keep two cores busy.
_MAX_SEARCHES_AT_ONCE = 4


@dataclass(frozen=True)
class SectionMatches:
    """What was found in one section, the newest first."""

    section: Section
    rows: tuple[RecordRow, ...]


@router.get("/search")
async def show_search(
    request: RecordReaderRequest, words: Annotated[str, Query()] = ""
) -> Response:
    """Show the form and, for words of this session, what was found."""
    typed = request.session.resolve_handle(words) if words else None
    wanted = parse_words(typed or "")
    if not wanted:
        return _render(request, typed or "", None, {}, has_more=False)
    (found, has_more), providers = await asyncio.gather(
        _search(request, build_searches(wanted)), request.load_providers()
    )
    return _render(request, typed or "", _group(request, found), providers, has_more=has_more)


@router.post("/search")
async def search_record(request: RecordReaderRequest, form: PatientForm) -> Response:
    """Keep the words in the session, so that they stand in no address."""
    typed = form.get("words", "").strip()[:_MAX_TYPED_CHARACTERS]
    if not parse_words(typed):
        return request.redirect("/search")
    return request.redirect(f"/search?words={request.session.issue_handle(typed)}")


async def _search(
    request: PortalRequest, searches: list[RecordSearch]
) -> tuple[list[SearchResults], bool]:
    slots = asyncio.Semaphore(_MAX_SEARCHES_AT_ONCE)
    address = f"Patient/{request.patient}/*"

    async def search(wanted: RecordSearch) -> SearchResults | None:
        params = {**search_params(wanted), "_count": _MAX_MATCHES}
        async with slots:
            return await none_if_forbidden(request.gateway.search_by_post(address, params))

    answers = await asyncio.gather(*(search(wanted) for wanted in searches))
    found = [answer for answer in answers if answer is not None]
    return found, any(answer.next_link for answer in found)


def _group(request: PortalRequest, found: list[SearchResults]) -> list[SectionMatches]:
    included = {key: resource for results in found for key, resource in results.included.items()}
    matches = {(r["resourceType"], r["id"]): r for results in found for r in results.matches}
    rows: dict[str, list[RecordRow]] = {}
    for resource in matches.values():
        row = build_row(resource, included, request.language, request.now)
        rows.setdefault(section_of(resource).key, []).append(row)
    return [
        SectionMatches(
            section,
            tuple(sorted(rows[section.key], key=lambda r: fhir_timestamp(r.start), reverse=True)),
        )
        for section in SECTIONS
        if section.key in rows
    ]


def _render(
    request: PortalRequest,
    typed: str,
    groups: list[SectionMatches] | None,
    providers: Mapping[str, Provider],
    *,
    has_more: bool,
) -> Response:
    words = parse_words(typed)
    return request.render(
        "search_record.html",
        **record_template_values(request, "/record", providers),
        typed=typed,
        groups=groups,
        has_more=has_more,
        mark=lambda text: mark_words(text, words),
    )
