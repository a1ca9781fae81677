"""The audit log for the steward and the auditor: search it, and settle what is unusual."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Invalid
from ehr_portal.gateway.operations import build_parameters
from ehr_portal.i18n import N_
from ehr_portal.oversight.audit_log import (
    ACCESS_REASON_TITLES,
    RULE_TITLES,
    VERDICT_TITLES,
    parse_events,
    parse_flags,
)
from ehr_portal.oversight.event_search import day_params
from ehr_portal.record.identity_card import parse_identity_number
from ehr_portal.record.record import fetch_providers
from ehr_portal.web.forms import VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.roles import AuditReaderRequest, StewardRequest

router = APIRouter()
NAVIGATION = tuple(
    link
    for role in ("steward", "auditor")
    for link in (
        NavigationLink(role, "/audit", N_("Audit log"), 40),
        NavigationLink(role, "/unusual", N_("Unusual access"), 50),
    )
)
# Chosen: an event is two or three lines on the page.
EVENTS_PER_PAGE = "50"
_MAX_TYPED_CHARACTERS = 100
# What may be a log-in or an id; no character with a meaning in a search or an address.
_IDENTIFIER = re.compile(r"[^\s|&?#]{1,64}")


@router.get("/audit")
async def show_events(
    request: AuditReaderRequest,
    patient: Annotated[str, Query()] = "",
    person: Annotated[str, Query()] = "",
    organization: Annotated[str, Query()] = "",
    reason: Annotated[str, Query()] = "",
    first_day: Annotated[str, Query(alias="from")] = "",
    last_day: Annotated[str, Query(alias="to")] = "",
    number: Annotated[str, Query()] = "",
    older: Annotated[str, Query()] = "",
) -> Response:
    """Show events, newest first, all or those that pass the filters.

    `number` is the handle of an identity card number that was typed.
    """
    typed_number = request.session.resolve_handle(number) if number else None
    filters = {
        "patient": patient, "person": person, "organization": organization, "reason": reason,
        "from": first_day, "to": last_day,
    }  # fmt: skip
    active_filters = {name: value.strip() for name, value in filters.items() if value.strip()}
    link = request.session.resolve_handle(older) if older else None
    query = urlencode([("_count", EVENTS_PER_PAGE), *_search_params(active_filters)])
    if link is None and typed_number:
        form: dict[str, list[str]] = {"patient.identifier": [typed_number]}
        for name, value in [*_search_params(active_filters), ("_count", EVENTS_PER_PAGE)]:
            form.setdefault(name, []).append(value)
        results = await request.gateway.search_by_post("AuditEvent", form)
    else:
        results = await request.gateway.fetch_page(link or f"/fhir/AuditEvent?{query}")
    return request.render(
        "audit_log.html",
        events=parse_events(results.matches),
        filters=filters,
        typed_patient=typed_number or patient,
        providers=await fetch_providers(request.gateway),
        older=request.session.issue_handle(results.next_link) if results.next_link else "",
        is_first_page=not older,
        filter_query=urlencode(active_filters | ({"number": number} if typed_number else {})),
        ACCESS_REASON_TITLES=ACCESS_REASON_TITLES,
    )


@router.post("/audit")
async def search_events(request: AuditReaderRequest, form: VerifiedForm) -> Response:
    """Keep a card number in the session, so that it stands in no address; then show the events."""
    names = ("person", "organization", "reason", "from", "to")
    filters = {name: form.get(name, "").strip()[:_MAX_TYPED_CHARACTERS] for name in names}
    typed = form.get("patient", "").strip()[:_MAX_TYPED_CHARACTERS]
    number = parse_identity_number(typed)
    if number:
        filters["number"] = request.session.issue_handle(number)
    elif _IDENTIFIER.fullmatch(typed):
        filters["patient"] = typed
    query = urlencode({name: value for name, value in filters.items() if value})
    return request.redirect(f"/audit?{query}" if query else "/audit")


@router.get("/unusual")
async def show_flags(
    request: AuditReaderRequest,
    settled: Annotated[str, Query()] = "",
    older: Annotated[str, Query()] = "",
) -> Response:
    """Show what the rules flagged: what is open, or what was settled."""
    status = "settled" if settled else "open"
    link = request.session.resolve_handle(older) if older else None
    first_page = f"/fhir/AuditEvent/$worklist?status={status}&_count=20"
    results = await request.gateway.fetch_page(link or first_page)
    return request.render(
        "unusual_access.html",
        flags=parse_flags(results.matches),
        settled=bool(settled),
        may_settle=request.user.role == "steward",
        providers=await fetch_providers(request.gateway),
        older=request.session.issue_handle(results.next_link) if results.next_link else "",
        RULE_TITLES=RULE_TITLES,
        VERDICT_TITLES=VERDICT_TITLES,
    )


@router.post("/unusual/settle")
async def settle_flag(request: StewardRequest, form: VerifiedForm) -> Response:
    """Settle one flag with a verdict and a note."""
    fields = {name: form.get(name, "").strip() for name in ("item", "verdict", "note")}
    try:
        await request.gateway.invoke("AuditEvent/$settle", build_parameters(**fields))
        request.flash(N_("It is settled, and your note is kept with it."))
    except Conflict:
        request.flash_problem(N_("Somebody settled it a moment ago."))
    except Invalid:
        request.flash_problem(N_("Say what you found, and write a note."))
    return request.redirect("/unusual")


def _search_params(filters: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return AuditEvent's search parameters; what cannot be one filters nothing."""
    params = []
    for name, parameter in (("patient", "patient"), ("person", "altid")):
        if _IDENTIFIER.fullmatch(filters.get(name, "")):
            params.append((parameter, filters[name]))
    if "organization" in filters:
        params.append(("agent", f"Organization/{filters['organization']}"))
    if filters.get("reason") in ACCESS_REASON_TITLES:
        params.append(("reason", filters["reason"]))
    return params + day_params(filters.get("from", ""), filters.get("to", ""))
