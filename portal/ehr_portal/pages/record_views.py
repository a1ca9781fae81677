"""What the patient's and the clinician's record pages share: the same pieces, the same look."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import Marker, Step
from ehr_portal.i18n import N_
from ehr_portal.record import display, rows
from ehr_portal.record.record import part_of, patient_or_none, providers, whole_record
from ehr_portal.record.rows import CLASSES, RISK, STATES, Entry
from ehr_portal.record.sections import BY_KEY, DOMAINS, KINDS
from ehr_portal.record.trends import Trend, bar, chart, sparkline
from ehr_portal.web.request import Page

LINES = 100


@dataclass(frozen=True)
class Item:
    """One record in full."""

    entry: Entry
    kind: str
    found: display.Text
    parts: tuple[tuple[display.Text, str], ...]
    notes: tuple[str, ...]
    document: str


async def show_record(
    page: Page,
    patient: str,
    base: str,
    template: str,
    *,
    marker: Marker | None = None,
    held: Sequence[Step] = (),
) -> Response:
    """Show a whole record; nothing visible is said in one neutral sentence."""
    record, known = await asyncio.gather(
        whole_record(page.gateway, patient, page.language), providers(page.gateway)
    )
    if record.empty:
        return page.render("nothing_shared.html", status=404, patient=patient)
    return page.render(
        template,
        **shared_values(page, base, known),
        record=record,
        person=person(record.patient),
        patient=patient,
        marker=marker,
        held=held,
        known=known,
        DOMAINS=DOMAINS,
    )


async def show_section(page: Page, patient: str, key: str, base: str, start: int) -> Response:
    """Show one section with all its lines."""
    if key not in BY_KEY:
        raise NotFound("There is no such section.")
    section = BY_KEY[key]
    part, known, patient_resource = await asyncio.gather(
        part_of(page.gateway, patient, section, page.language),
        providers(page.gateway),
        patient_or_none(page.gateway, patient),
    )
    if patient_resource is None and not part.size:
        return page.render("nothing_shared.html", status=404, patient=patient)
    return page.render(
        "section.html",
        **shared_values(page, base, known),
        part=part,
        person=person(patient_resource),
        start=max(0, start),
        lines=LINES,
    )


async def item_of(page: Page, resource_type: str, resource_id: str, patient: str) -> Item:
    """Read one record of this patient; another's is as good as absent."""
    if resource_type not in KINDS:
        raise NotFound("There is no such record.")
    resource = await page.gateway.read(resource_type, resource_id)
    about = resource.get("subject") or resource.get("patient") or {}
    if about.get("reference") != f"Patient/{patient}":
        raise NotFound("There is no such record.")
    included = await _medication(page, resource)
    return Item(
        entry=rows.entry(resource, included, page.language),
        kind=KINDS[resource_type],
        found=rows.observed(resource, page.language),
        parts=tuple(
            (
                display.concept(part.get("code"), page.language),
                display.amount(part["valueQuantity"]),
            )
            for part in resource.get("component", ())
            if "valueQuantity" in part
        ),
        notes=tuple(note.get("text", "") for note in resource.get("note", ())),
        document=_document(resource),
    )


def person(patient: Resource | None) -> dict[str, Any] | None:
    """Return what stands at the head of a record."""
    if patient is None:
        return None
    return {
        "name": display.person_name(patient),
        "born": patient.get("birthDate", ""),
        "sex": patient.get("gender", ""),
        "hkid": display.hkid(patient),
        "died": patient.get("deceasedDateTime", ""),
    }


def shared_values(page: Page, base: str, known: dict[str, display.Provider]) -> dict[str, Any]:
    """Return what every record template needs; jinja2 takes values of any kind."""

    def author(entry_author: str | None) -> display.Text | None:
        found = known.get(entry_author or "")
        return found.name(page.language) if found else None

    def label(trend: Trend) -> str:
        return page.text(
            N_("%(test)s from %(first)s to %(last)s, newest value %(value)s"),
            test=str(trend.title),
            first=page.words.day(trend.numbers[0].when),
            last=page.words.day(trend.last.when),
            value=str(trend.last.shown),
        )

    def draw(trend: Trend) -> Any:
        days = (page.words.day(trend.numbers[0].when), page.words.day(trend.numbers[-1].when))
        return chart(trend, label(trend), days)

    return {
        "base": base,
        "author": author,
        "concept": lambda value: display.concept(value, page.language),
        "spark": sparkline,
        "draw": draw,
        "bar": bar,
        "STATES": STATES,
        "CLASSES": CLASSES,
        "RISK": RISK,
        "SECTIONS": BY_KEY,
    }


async def _medication(page: Page, resource: Resource) -> dict[str, Resource]:
    reference = str(resource.get("medicationReference", {}).get("reference", ""))
    if not reference.startswith("Medication/"):
        return {}
    try:
        return {reference: await page.gateway.read(*reference.split("/", 1))}
    except NotFound:
        return {}


def _document(resource: Resource) -> str:
    attachments = [part.get("attachment", {}) for part in resource.get("content", ())]
    attachments += resource.get("presentedForm", ())
    texts = []
    for attachment in attachments:
        if attachment.get("contentType", "").startswith("text/plain") and "data" in attachment:
            try:
                texts.append(
                    base64.b64decode(attachment["data"]).decode("utf-8", "replace").strip()
                )
            except binascii.Error:
                continue
    return "\n\n".join(texts)
