"""What the patient's and the clinician's record pages share; no page of its own."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import MultiPartParameter, WithheldMarker
from ehr_portal.i18n import N_
from ehr_portal.record.charts import draw_chart, draw_sparkline
from ehr_portal.record.display import (
    PersonName,
    Text,
    concept_text,
    person_name,
    quantity_text,
)
from ehr_portal.record.identity_card import mask_identity_number
from ehr_portal.record.providers import Provider
from ehr_portal.record.record import (
    fetch_patient_or_none,
    fetch_providers,
    fetch_record,
    fetch_section,
)
from ehr_portal.record.rows import STATUS_TITLES, RecordRow, build_row, observation_value
from ehr_portal.record.sections import DOMAIN_TITLES, SECTION_BY_KEY, TYPE_TITLES
from ehr_portal.record.trends import Trend
from ehr_portal.web.request import PortalRequest

# Rows of a section on one page. Chosen: a long page is easier to search than many short ones.
ROWS_PER_PAGE = 100


@dataclass(frozen=True)
class PatientSummary:
    """What stands at the head of a record; an empty field is not shown."""

    name: PersonName
    birth_date: str
    # FHIR's AdministrativeGender.
    gender: str
    hkid: str
    death_date: str


@dataclass(frozen=True)
class Item:
    """One record in full."""

    row: RecordRow
    # The title of its resource type, still to translate.
    type_title: str
    value: Text
    # Name and value of each component, as of a blood pressure.
    components: tuple[tuple[Text, str], ...]
    notes: tuple[str, ...]
    # The plain text of its attachments.
    document: str


async def render_record(
    request: PortalRequest,
    patient: str,
    base: str,
    *,
    withheld_marker: WithheldMarker | None = None,
    held_results: Sequence[MultiPartParameter] = (),
) -> Response:
    """Render a whole record; where nothing is visible, one neutral sentence.

    `base` is the path of the record's pages: /record, or /patients/ID.
    """
    record, providers = await asyncio.gather(
        fetch_record(request.gateway, patient, request.language),
        fetch_providers(request.gateway),
    )
    if record.is_empty:
        return request.render("nothing_shared.html", status=404, patient=patient)
    return request.render(
        "record.html",
        **record_template_values(request, base, providers),
        record=record,
        person=summarize_patient(record.patient) if record.patient else None,
        withheld_marker=withheld_marker,
        held_results=held_results,
        DOMAIN_TITLES=DOMAIN_TITLES,
    )


async def render_section(
    request: PortalRequest, patient: str, key: str, base: str, start: int
) -> Response:
    """Render one section with its rows from `start` on."""
    if key not in SECTION_BY_KEY:
        raise NotFound("There is no such section.")
    content, providers, patient_resource = await asyncio.gather(
        fetch_section(request.gateway, patient, SECTION_BY_KEY[key], request.language),
        fetch_providers(request.gateway),
        fetch_patient_or_none(request.gateway, patient),
    )
    if patient_resource is None and not content.size:
        return request.render("nothing_shared.html", status=404, patient=patient)
    return request.render(
        "section.html",
        **record_template_values(request, base, providers),
        content=content,
        person=summarize_patient(patient_resource) if patient_resource else None,
        start=start,
        rows_per_page=ROWS_PER_PAGE,
    )


async def fetch_item(
    request: PortalRequest, resource_type: str, resource_id: str, patient: str
) -> Item:
    """Read one record of this patient; another patient's is as good as absent."""
    if resource_type not in TYPE_TITLES:
        raise NotFound("There is no such record.")
    resource = await request.gateway.read(resource_type, resource_id)
    subject = resource.get("subject") or resource.get("patient") or {}
    if subject.get("reference") != f"Patient/{patient}":
        raise NotFound("There is no such record.")
    language = request.language
    return Item(
        row=build_row(resource, await _read_medication(request, resource), language),
        type_title=TYPE_TITLES[resource_type],
        value=observation_value(resource, language),
        components=tuple(
            (
                concept_text(component.get("code"), language),
                quantity_text(component["valueQuantity"]),
            )
            for component in resource.get("component", ())
            if "valueQuantity" in component
        ),
        notes=tuple(note.get("text", "") for note in resource.get("note", ())),
        document=_plain_text_of_attachments(resource),
    )


def summarize_patient(patient: Resource) -> PatientSummary:
    """Return what stands at the head of a record."""
    return PatientSummary(
        name=person_name(patient),
        birth_date=patient.get("birthDate", ""),
        gender=patient.get("gender", ""),
        hkid=mask_identity_number(patient),
        death_date=patient.get("deceasedDateTime", ""),
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
        "STATUS_TITLES": STATUS_TITLES,
    }


def _draw_labelled_chart(request: PortalRequest, trend: Trend) -> Any:
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


async def _read_medication(request: PortalRequest, resource: Resource) -> dict[str, Resource]:
    reference = str(resource.get("medicationReference", {}).get("reference", ""))
    if not reference.startswith("Medication/"):
        return {}
    try:
        return {reference: await request.gateway.read(*reference.split("/", 1))}
    except NotFound:
        return {}


def _plain_text_of_attachments(resource: Resource) -> str:
    attachments = [content.get("attachment", {}) for content in resource.get("content", ())]
    attachments += resource.get("presentedForm", ())
    texts = []
    for attachment in attachments:
        if attachment.get("contentType", "").startswith("text/plain") and "data" in attachment:
            try:
                content = base64.b64decode(attachment["data"])
            except binascii.Error:
                continue
            texts.append(content.decode("utf-8", "replace").strip())
    return "\n\n".join(texts)
