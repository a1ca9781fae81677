"""What the patient's and the clinician's record pages share; no page of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from fastapi.responses import Response

from ehr_fhir.compartments import patient_ids_of
from ehr_fhir.errors import NotFound
from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import (
    MultiPartParameter,
    WithheldMarker,
    fetch_corrections,
    fetch_held_results,
    fetch_withheld_marker,
)
from ehr_portal.i18n import N_
from ehr_portal.record.ages import age_in_years, day_of
from ehr_portal.record.charts import MIN_TREND_POINTS, draw_chart, draw_sparkline
from ehr_portal.record.describe import DescribedRecord, Describer
from ehr_portal.record.descriptions import describe_type
from ehr_portal.record.display import PersonName, Text, concept_text, person_name
from ehr_portal.record.documents import (
    PDF,
    Document,
    DocumentFile,
    clean_html,
    find_attachments,
    load_documents,
    load_file,
)
from ehr_portal.record.identity_card import mask_identity_number
from ehr_portal.record.linked_records import fetch_linked_records, fetch_related
from ehr_portal.record.providers import Provider
from ehr_portal.record.record import (
    SearchesOfOnePage,
    add_scale_decisions,
    build_section,
    fetch_record,
    usual_ranges,
)
from ehr_portal.record.rows import RecordRow, build_row
from ehr_portal.record.section_content import SectionContent
from ehr_portal.record.section_pages import OlderPage, fetch_section_page, parse_older_page
from ehr_portal.record.sections import (
    DOMAIN_TITLES,
    FURTHER_SECTIONS,
    SECTION_BY_KEY,
    TYPE_TITLES,
)
from ehr_portal.record.trends import Trend
from ehr_portal.web.request import PortalRequest


@dataclass(frozen=True)
class PatientSummary:
    """What stands at the head of a record; an empty field is not shown."""

    name: PersonName
    birth_date: str
    # FHIR's AdministrativeGender.
    gender: str
    hkid: str
    death_date: str
    # In full years, today or at death; None where the birth date does not say.
    age: int | None = None
    # On a clinician's pages: the allergies, and whether some may be withheld.
    allergies: SectionContent | None = None
    withheld_marker: WithheldMarker = field(default_factory=WithheldMarker)


@dataclass(frozen=True)
class Item:
    """One record in full."""

    # Whose it is; None where that is not shown or not asked for.
    person: PatientSummary | None
    row: RecordRow
    # The title of its resource type, still to translate.
    type_title: str
    described: DescribedRecord
    documents: tuple[Document, ...]
    # Records that name this one.
    related: tuple[RecordRow, ...]
    # Refused requests for a correction with the patient's own words.
    statements: tuple[MultiPartParameter, ...] = ()


async def render_record(request: PortalRequest, patient: str, base: str) -> Response:
    """Render a patient's own record; where nothing is visible, one neutral sentence.

    `base` is the path of the record's pages.
    """
    record, providers, held_results = await asyncio.gather(
        fetch_record(request.gateway, patient, request.language, request.now),
        request.load_providers(),
        fetch_held_results(request.gateway, patient),
    )
    if record.is_empty:
        return request.render("nothing_shared.html", status=404, patient=patient)
    return request.render(
        "record.html",
        **record_template_values(request, base, providers),
        record=record,
        person=summarize_patient(record.patient) if record.patient else None,
        held_results=held_results,
        DOMAIN_TITLES=DOMAIN_TITLES,
        further_sections=FURTHER_SECTIONS,
    )


async def render_section(
    request: PortalRequest, patient: str, key: str, base: str, older: str
) -> Response:
    """Render a page of one section: the newest, or what the handle of the page before stands for.

    No date of a record stands in an address.
    """
    if key not in SECTION_BY_KEY:
        raise NotFound("There is no such section.")
    path = f"{base}/{key}"
    here = _resolve_older(request, path, older)
    searches = SearchesOfOnePage(request.gateway, patient)
    page, providers, person = await asyncio.gather(
        fetch_section_page(searches, SECTION_BY_KEY[key], request.language, request.now, here),
        request.load_providers(),
        fetch_head(searches, request, base),
    )
    content = page.content
    if person is None and not content.size:
        return request.render("nothing_shared.html", status=404, patient=patient)
    return request.render(
        "section.html",
        **record_template_values(request, base, providers),
        content=content,
        person=person,
        withheld_marker=person.withheld_marker if person else WithheldMarker(),
        is_first_page=here is None,
        path=path,
        older=request.session.issue_handle(f"{path} {page.older}") if page.older else "",
    )


def _resolve_older(request: PortalRequest, path: str, handle: str) -> OlderPage | None:
    """Return where the older records are that a handle of this path stands for, if it is one."""
    value = request.session.resolve_handle(handle) or ""
    place, _, older = value.partition(" ")
    return parse_older_page(older) if place == path else None


async def fetch_item(
    request: PortalRequest, resource_type: str, resource_id: str, patient: str, base: str
) -> Item:
    """Read one record of this patient, and what belongs to it."""
    resource = await _read_record(request, resource_type, resource_id, patient)
    gateway, language = request.gateway, request.language
    searches = SearchesOfOnePage(gateway, patient)
    # Results are held against what is usual for the patient; others' pages name the patient.
    needs_patient = resource_type in ("Observation", "DiagnosticReport") or base != "/record"
    links, related, documents, patient_resource, person, corrections = await asyncio.gather(
        fetch_linked_records(gateway, resource, patient, base, language),
        fetch_related(gateway, resource),
        load_documents(gateway, resource),
        searches.patient() if needs_patient else _return_none(),
        fetch_head(searches, request, base) if base != "/record" else _return_none(),
        fetch_corrections(gateway, f"{resource_type}/{resource_id}"),
    )
    usual = await add_scale_decisions(
        gateway, patient, usual_ranges(patient_resource), [resource, *related]
    )
    is_clinician = request.user.role == "clinician"
    describer = Describer(
        language,
        for_clinician=is_clinician,
        links=links.find,
        usual=usual,
    )
    described = describer.describe(resource)
    if described is None:
        raise NotFound("There is no such record.")
    return Item(
        person=person,
        row=build_row(resource, links.targets, language, request.now),
        type_title=TYPE_TITLES[resource_type],
        described=described,
        documents=tuple(documents),
        related=tuple(build_row(r, links.targets, language, request.now) for r in related),
        statements=tuple(correction for correction in corrections if correction.statement),
    )


async def send_attachment(
    request: PortalRequest, resource_type: str, resource_id: str, patient: str, index: int
) -> Response:
    """Send one attachment of a record: pictures and PDF to look at, anything else to download."""
    resource = await _read_record(request, resource_type, resource_id, patient)
    attachments = find_attachments(resource)
    if index >= len(attachments):
        raise NotFound("There is no such document.")
    file = await load_file(request.gateway, attachments[index])
    if file is None:
        raise NotFound("There is no such document.")
    return _file_response(file, f"{resource_type}-{resource_id}-{index + 1}")


async def _read_record(
    request: PortalRequest, resource_type: str, resource_id: str, patient: str
) -> Resource:
    """Read a record of this patient; another patient's is as good as absent."""
    if describe_type(resource_type) is None or resource_type == "Medication":
        raise NotFound("There is no such record.")
    resource = await request.gateway.read(resource_type, resource_id)
    if patient not in patient_ids_of(resource):
        raise NotFound("There is no such record.")
    return resource


def _file_response(file: DocumentFile, name: str) -> Response:
    is_shown = file.media_type.startswith("image/") or file.media_type == PDF
    media_type = file.media_type if is_shown else "application/octet-stream"
    ending = media_type.partition("/")[2] if is_shown else "bin"
    disposition = "inline" if is_shown else "attachment"
    headers = {"Content-Disposition": f'{disposition}; filename="{name}.{ending}"'}
    if media_type != PDF:
        # Nothing in it may run, whatever a browser takes it for. A PDF's viewer needs more than
        # that leaves; the policy of all pages holds for it.
        headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return Response(file.content, media_type=media_type, headers=headers)


async def _return_none() -> None:
    return None


async def fetch_page_head(request: PortalRequest, patient: str, base: str) -> PatientSummary | None:
    """Return whose record a page below `base` is about; for a clinician with the allergies."""
    return await fetch_head(SearchesOfOnePage(request.gateway, patient), request, base)


async def fetch_person(request: PortalRequest, patient: str) -> PatientSummary | None:
    """Return what stands at the head of a clinician's page, None if nothing is shared."""
    return await fetch_page_head(request, patient, f"/patients/{patient}")


async def fetch_head(
    searches: SearchesOfOnePage, request: PortalRequest, base: str
) -> PatientSummary | None:
    """Return whose record a page is about; for a clinician with the allergies (NHS CUI banner)."""
    if base == "/record":
        own = await searches.patient()
        return summarize_patient(own, request.now) if own else None
    patient, allergies, marker = await asyncio.gather(
        searches.patient(),
        build_section(searches, SECTION_BY_KEY["allergies"], request.language, request.now),
        fetch_withheld_marker(request.gateway, searches.patient_id),
    )
    if patient is None:
        return None
    return replace(
        summarize_patient(patient, request.now), allergies=allergies, withheld_marker=marker
    )


def summarize_patient(patient: Resource, now: datetime | None = None) -> PatientSummary:
    """Return what stands at the head of a record; `now` is what the age is of."""
    birth_date, death_date = patient.get("birthDate", ""), patient.get("deceasedDateTime", "")
    last_day = death_date or (day_of(now) if now else "")
    return PatientSummary(
        name=person_name(patient),
        birth_date=birth_date,
        gender=patient.get("gender", ""),
        hkid=mask_identity_number(patient),
        death_date=death_date,
        # Of a year or month alone the age is not told as if it were known.
        age=age_in_years(birth_date, last_day) if len(birth_date) == len("1981-03-14") else None,
    )


def record_template_values(
    request: PortalRequest, base: str, providers: Mapping[str, Provider]
) -> dict[str, Any]:
    """Return what every record template needs; jinja2 takes values of any kind."""

    def author_name(organization: str | None) -> Text | None:
        provider = providers.get(organization or "")
        return provider.name_in(request.language) if provider else None

    return {
        "base": base,
        "providers": providers,
        "author_name": author_name,
        "concept_text": lambda concept: concept_text(concept, request.language),
        "draw_sparkline": draw_sparkline,
        "draw_chart": lambda trend: _draw_labelled_chart(request, trend),
        "clean_html": clean_html,
    }


def _draw_labelled_chart(request: PortalRequest, trend: Trend) -> Any:
    if len(trend.numbers) < MIN_TREND_POINTS:
        return ""
    first_day = request.localizer.format_day(trend.numbers[0].date)
    label = request.translate(
        N_("%(test)s from %(first)s to %(last)s, newest value %(value)s"),
        test=str(trend.title),
        first=first_day,
        last=request.localizer.format_day(trend.newest.date),
        value=str(trend.newest.text),
    )
    # The newest result may be no number, and is then not in the drawing.
    last_drawn_day = request.localizer.format_day(trend.numbers[-1].date)
    return draw_chart(trend, label, (first_day, last_drawn_day))
