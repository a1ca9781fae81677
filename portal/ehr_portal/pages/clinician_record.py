"""A patient's record as the clinician may see it: all that is shared, one section, one item."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from ehr_portal.gateway.operations import fetch_held_results, fetch_withheld_marker
from ehr_portal.i18n import fhir_timestamp, has_time_of_day
from ehr_portal.pages.hold_result import HOLDABLE_TYPES
from ehr_portal.pages.record_views import (
    fetch_item,
    record_template_values,
    render_section,
    send_attachment,
    summarize_patient,
)
from ehr_portal.record.display import Phrase, Text, concept_text
from ehr_portal.record.dosage import dosage_lines, order_dosages
from ehr_portal.record.interpretations import CRITICAL
from ehr_portal.record.medicine_names import load_rules
from ehr_portal.record.medicine_rules import MedicineCheck
from ehr_portal.record.medicine_texts import finding_sentence
from ehr_portal.record.new_entries import WRITTEN_TYPES
from ehr_portal.record.new_prescriptions import is_draft_of_portal
from ehr_portal.record.news2 import ACVPU_TEXTS, PARAMETER_TITLES, RISK_TEXTS
from ehr_portal.record.overview import fetch_overview
from ehr_portal.record.rows import RecordRow
from ehr_portal.record.sections import DOMAIN_TITLES, SECTIONS
from ehr_portal.record.trend_words import earlier_value, latest_change
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()


# The sections that the first screen has no block of.
_ON_SCREEN = frozenset(
    {"alerts", "allergies", "problems", "medicines", "measurements", "results", "visits"}
    | {"reports", "documents"}
)
_OTHER_SECTIONS = tuple(section for section in SECTIONS if section.key not in _ON_SCREEN)


@router.get("/patients/{patient}")
async def show_record(request: ClinicianRequest, patient: str) -> Response:
    """Show on one screen what matters of a patient's record; where nothing is visible, say so."""
    overview, providers, withheld_marker, held_results = await asyncio.gather(
        fetch_overview(request.gateway, patient, request.language, request.now),
        request.load_providers(),
        fetch_withheld_marker(request.gateway, patient),
        fetch_held_results(request.gateway, patient),
    )
    if overview.is_empty:
        return request.render("nothing_shared.html", status=404, patient=patient)
    language = request.language
    person = summarize_patient(overview.patient, request.now) if overview.patient else None
    return request.render(
        "chart.html",
        **record_template_values(request, f"/patients/{patient}", providers),
        overview=overview,
        person=person,
        withheld_marker=withheld_marker,
        held_results=held_results,
        is_of_last_day=lambda date: _is_of_last_day(date, request.now),
        urgent_results=[
            trend
            for content in (overview.results, overview.vitals)
            for trend in content.trends
            if trend.is_critical_now(request.now)
        ],
        urgent_findings=[
            finding for finding in overview.medicine_check.findings if finding.level == CRITICAL
        ],
        order_levels=_levels_of_orders(overview.medicine_check),
        interaction_count=len(load_rules()["interaction"]),
        other_sections=_OTHER_SECTIONS,
        DOMAIN_TITLES=DOMAIN_TITLES,
        PARAMETER_TITLES=PARAMETER_TITLES,
        RISK_TEXTS=RISK_TEXTS,
        ACVPU_TEXTS=ACVPU_TEXTS,
        latest_change=latest_change,
        earlier_value=lambda change: earlier_value(change, language),
        board_details=lambda row: _board_details(row, language),
        finding_sentence=lambda finding: finding_sentence(finding, language),
        medicine_name=lambda order: overview.medicine_name(order),
    )


def _is_of_last_day(date: str, now: datetime) -> bool:
    """Return whether an instant with a time lies in the last 24 hours."""
    return has_time_of_day(date) and 0 <= now.timestamp() - fhir_timestamp(date) <= 24 * 60 * 60


def _board_details(row: RecordRow, language: str) -> list[Phrase | Text]:
    """Return what the first screen says of a record besides its title: how, why, how bad."""
    resource = row.resource
    dosages = order_dosages(resource)
    if dosages:
        return list(dosage_lines(dosages, language))
    if row.resource_type == "Encounter":
        return [concept_text(reason, language) for reason in resource.get("reasonCode", ())[:1]]
    if row.resource_type == "DocumentReference":
        return []
    return list(row.details)


def _levels_of_orders(check: MedicineCheck) -> dict[str, str]:
    """Return the most serious level of the findings about each order, by its reference."""
    levels: dict[str, str] = {}
    # The most serious come first.
    for finding in check.findings:
        for order in finding.orders:
            levels.setdefault(f"{order['resourceType']}/{order['id']}", finding.level)
    return levels


@router.get("/patients/{patient}/item/{resource_type}/{resource_id}")
async def show_item(
    request: ClinicianRequest, patient: str, resource_type: str, resource_id: str
) -> Response:
    """Show one item of the record, and whether the clinician may hold it back or mark it."""
    item, providers, held_results = await asyncio.gather(
        fetch_item(request, resource_type, resource_id, patient, f"/patients/{patient}"),
        request.load_providers(),
        fetch_held_results(request.gateway, patient),
    )
    reference = f"{resource_type}/{resource_id}"
    hold = next((held for held in held_results if held.record == reference), None)
    is_own = item.row.author == request.user.organization
    return request.render(
        "item.html",
        **record_template_values(request, f"/patients/{patient}", providers),
        item=item,
        reference=reference,
        person=item.person,
        restrictions=[],
        can_restrict=False,
        hold=hold,
        can_hold=resource_type in HOLDABLE_TYPES and is_own and hold is None,
        can_sign=is_draft_of_portal(item.row.resource),
        can_mark_wrong=resource_type in WRITTEN_TYPES and is_own and not item.row.is_in_error,
    )


@router.get("/patients/{patient}/item/{resource_type}/{resource_id}/attachment/{index}")
async def show_attachment(
    request: ClinicianRequest,
    patient: str,
    resource_type: str,
    resource_id: str,
    index: Annotated[int, Path(ge=0)],
) -> Response:
    """Send one document of a record."""
    return await send_attachment(request, resource_type, resource_id, patient, index)


@router.get("/patients/{patient}/{key}")
async def show_section(
    request: ClinicianRequest,
    patient: str,
    key: str,
    older: Annotated[str, Query()] = "",
) -> Response:
    """Show one section."""
    return await render_section(request, patient, key, f"/patients/{patient}", older)
