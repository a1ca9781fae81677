"""Close part of the record: what, to whom, how firmly and for how long."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_portal.gateway.operations import fetch_access_requests
from ehr_portal.i18n import N_, local_date
from ehr_portal.pages.preview_access import fetch_preview
from ehr_portal.record.record import fetch_providers
from ehr_portal.record.sections import DOMAIN_TITLES, TYPE_TITLES
from ehr_portal.sharing.access_previews import DomainChange
from ehr_portal.sharing.restrictions import (
    PROFESSION_TITLES,
    SECURITY_LABEL_TITLES,
    RestrictionChoice,
    build_restriction,
)
from ehr_portal.web.forms import FieldError, PatientForm, VerifiedForm, is_day
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import DeciderRequest, PatientRequest

router = APIRouter()
FIRMNESS_TITLES = {"hidden": N_("Closed"), "sealed": N_("Sealed")}
FIRMNESS_HINTS = {
    "hidden": N_("It opens in an emergency, and to those you agree to. Enough for most people."),
    "sealed": N_(
        "It stays closed even when your life is in danger. Doctors may then miss what they need "
        "to know to treat you safely."
    ),
}
EXTENT_TITLES = {
    "record": N_("Only this entry"),
    "episode": N_("This visit and all recorded in it"),
}


@dataclass(frozen=True)
class PreviewOf:
    """Through whose eyes a restriction is looked at before it is saved."""

    organization: str
    profession: str


@router.get("/sharing/close")
async def show_restriction_form(
    request: DeciderRequest, record: Annotated[str, Query()] = ""
) -> Response:
    """Show the form, for a single record when one is named."""
    choice = RestrictionChoice(record=record if _is_record_reference(record) else "")
    return await _render_form(request, choice)


@router.post("/sharing/close")
async def add_restriction(request: PatientRequest, form: PatientForm) -> Response:
    """Add the restriction to the patient's Consents."""
    choice = _parse_choice(form)
    today = local_date(request.now).isoformat()
    is_preview = form.get("step") == "preview"
    # A preview seals nothing yet.
    errors = _check_choice(choice, today, understood=is_preview or bool(form.get("understood")))
    if is_preview and not errors:
        return await _render_preview(request, choice, form)
    if not errors:
        try:
            restriction = build_restriction(request.patient, request.now, choice)
            await request.gateway.create(restriction)
        except Invalid:
            text = N_("This cannot be closed in this way.")
            errors.append(FieldError("domain", text))
    if errors:
        return await _render_form(request, choice, errors)
    request.flash(N_("It is closed from this moment."))
    return request.redirect("/sharing#close")


async def _render_preview(
    request: PortalRequest, choice: RestrictionChoice, form: VerifiedForm
) -> Response:
    """Show the form again, with what one organisation would see if it were sent."""
    profession = form.get("preview-profession", "")
    profession = profession if profession in PROFESSION_TITLES else "doctor"
    preview = PreviewOf(form.get("preview-organization", ""), profession)
    if not preview.organization:
        text = N_("Choose a hospital or clinic to look through.")
        return await _render_form(
            request, choice, [FieldError("preview-organization", text)], preview
        )
    restriction = build_restriction(request.patient, request.now, choice)
    changes = await fetch_preview(request, preview.organization, profession, [restriction])
    if changes is None:
        text = N_("This cannot be closed in this way.")
        return await _render_form(request, choice, [FieldError("domain", text)], preview)
    return await _render_form(request, choice, preview=preview, changes=changes)


def _parse_choice(form: VerifiedForm) -> RestrictionChoice:
    record = form.get("record", "").strip()
    if not _is_record_reference(record):
        record = ""
    is_whole_visit = form.get("extent") == "episode" and record.startswith("Encounter/")
    return RestrictionChoice(
        domain=form.get("domain", "").strip(),
        security_label=form.get("label", "").strip(),
        author=form.get("author", "").strip(),
        record="" if is_whole_visit else record,
        encounter=record if is_whole_visit else "",
        first_day=form.get("first", "").strip(),
        last_day=form.get("last", "").strip(),
        recipient=form.get("against", "").strip() or "everyone",
        exception=form.get("besides", "").strip(),
        sealed=form.get("firmness") == "sealed",
        until=form.get("until", "").strip(),
    )


def _check_choice(choice: RestrictionChoice, today: str, *, understood: bool) -> list[FieldError]:
    errors = []
    if not choice.is_specific:
        errors.append(FieldError("domain", N_("Choose what to close, or to whom.")))
    days = [day for day in (choice.first_day, choice.last_day, choice.until) if day]
    if not all(is_day(day) for day in days):
        errors.append(FieldError("until", N_("Type a day as year-month-day.")))
    elif choice.until and choice.until < today:
        errors.append(FieldError("until", N_("Choose a day that is still to come.")))
    elif choice.first_day and choice.last_day and choice.last_day < choice.first_day:
        errors.append(FieldError("first", N_("The period ends before it begins.")))
    if choice.sealed and not understood:
        text = N_("Say that you understand what sealing means.")
        errors.append(FieldError("understood", text))
    return errors


async def _render_form(
    request: PortalRequest,
    choice: RestrictionChoice,
    errors: list[FieldError] | None = None,
    preview: PreviewOf | None = None,
    changes: list[DomainChange] | None = None,
) -> Response:
    providers, access_requests = await asyncio.gather(
        fetch_providers(request.gateway),
        fetch_access_requests(request.gateway, request.patient),
    )
    return request.render(
        "add_restriction.html",
        choice=choice,
        preview=preview or PreviewOf(_previewed_organization(choice), "doctor"),
        changes=changes,
        record=choice.record or choice.encounter,
        providers=[provider for provider in providers.values() if not provider.platform],
        # Log-in and name of everybody who ever asked for access.
        requestors={access.person: access.display for access in access_requests},
        DOMAIN_TITLES=DOMAIN_TITLES,
        TYPE_TITLES=TYPE_TITLES,
        SECURITY_LABEL_TITLES=SECURITY_LABEL_TITLES,
        PROFESSION_TITLES=PROFESSION_TITLES,
        FIRMNESS_TITLES=FIRMNESS_TITLES,
        FIRMNESS_HINTS=FIRMNESS_HINTS,
        EXTENT_TITLES=EXTENT_TITLES,
        errors=errors or [],
    )


def _previewed_organization(choice: RestrictionChoice) -> str:
    kind, _, identifier = choice.recipient.partition(":")
    return identifier if kind == "organization" else ""


def _is_record_reference(text: str) -> bool:
    # FHIR's id has 64 characters at most.
    resource_type, _, resource_id = text.partition("/")
    is_id = bool(resource_id) and "/" not in resource_id and len(resource_id) <= 64
    return resource_type in TYPE_TITLES and is_id
