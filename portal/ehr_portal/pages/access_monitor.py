"""The access monitor: who is suspended, suspending and lifting, and the breach report."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Invalid, NotFound, Unprocessable
from ehr_portal.gateway.operations import build_parameters, dash_if_empty, parse_values
from ehr_portal.i18n import N_
from ehr_portal.oversight.containment import KIND_TITLES, parse_report, parse_suspensions
from ehr_portal.oversight.event_search import day_bounds
from ehr_portal.record.record import fetch_providers
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import (
    AUDIT_READER_ROLES,
    CONTAINMENT_ROLES,
    OVERSEER_ROLES,
    AuditReaderRequest,
    ContainmentRequest,
    OverseerRequest,
    StewardRequest,
)

router = APIRouter()
NAVIGATION = tuple(
    NavigationLink(role, "/monitor", N_("Access monitor"), 45) for role in OVERSEER_ROLES
)
# How long a suspension may last, by the value of the form; without an end it has to be lifted.
TERMS = {
    "": N_("Until it is lifted"),
    "1": N_("1 hour"),
    "24": N_("24 hours"),
    "168": N_("7 days"),
}
_FIELDS = ("kind", "subject", "organization", "reason", "hours", "sure")


@router.get("/monitor")
async def show_monitor(request: OverseerRequest, person: Annotated[str, Query()] = "") -> Response:
    """Show the suspensions and the forms; `person` is a log-in to begin the form with."""
    return await _render(request, {"kind": "person" if person else "", "subject": person})


@router.post("/monitor/suspend")
async def suspend(request: ContainmentRequest, form: VerifiedForm) -> Response:
    """Suspend somebody at once."""
    typed = {name: form.get(name, "").strip() for name in _FIELDS}
    if typed["kind"] not in KIND_TITLES:
        return await _render(request, typed, FieldError("kind", N_("Choose who is meant.")))
    if not typed["sure"]:
        error = FieldError("sure", N_("Tick the box: it holds at once, for everybody concerned."))
        return await _render(request, typed, error)
    until = None
    if typed["hours"] in TERMS and typed["hours"]:
        until = (request.now + timedelta(hours=int(typed["hours"]))).isoformat()
    parameters = build_parameters(
        kind=typed["kind"],
        subject=_named_subject(typed),
        reason=dash_if_empty(typed["reason"]),
        until=until,
    )
    try:
        await request.gateway.invoke("$suspend", parameters)
    except Conflict:
        error = FieldError("subject", N_("You would suspend yourself."))
        return await _render(request, typed, error)
    except NotFound:
        return await _render(request, typed, FieldError("subject", N_("Nobody is known by this.")))
    except Unprocessable:
        return await _render(request, typed, FieldError("reason", N_("Write the reason.")))
    except Invalid:
        return await _render(request, typed, FieldError("subject", N_("Say who is meant.")))
    request.flash(N_("The access is suspended. It holds from now on."))
    return request.redirect("/monitor")


@router.post("/monitor/lift")
async def lift(request: ContainmentRequest, form: VerifiedForm) -> Response:
    """Lift a suspension."""
    parameters = build_parameters(
        suspension=dash_if_empty(form.get("suspension", "")),
        reason=dash_if_empty(form.get("reason", "").strip()),
    )
    try:
        await request.gateway.invoke("$lift-suspension", parameters)
        request.flash(N_("The suspension is lifted."))
    except (Conflict, NotFound):
        request.flash_problem(N_("This suspension is over."))
    except Invalid:
        request.flash_problem(N_("It was not lifted: write the reason."))
    return request.redirect("/monitor")


@router.post("/monitor/report")
async def show_report(request: AuditReaderRequest, form: VerifiedForm) -> Response:
    """Show the breach report. By POST, so that no address says of whom."""
    typed = {name: form.get(name, "").strip() for name in (*_FIELDS, "from", "to")}
    first, after_last = day_bounds(typed["from"], typed["to"])
    if typed["kind"] not in KIND_TITLES or not first:
        error = FieldError("from", N_("Choose who is meant, and the first day."))
        return await _render(request, typed, error)
    question = {
        "kind": typed["kind"], "subject": _named_subject(typed), "from": first, "until": after_last,
    }  # fmt: skip
    try:
        answer, providers = await asyncio.gather(
            request.gateway.invoke_by_query(
                "$breach-report", [(name, value) for name, value in question.items() if value]
            ),
            fetch_providers(request.gateway),
        )
    except (Invalid, NotFound):
        return await _render(request, typed, FieldError("subject", N_("Say who is meant.")))
    return request.render(
        "breach_report.html",
        report=parse_report(answer),
        providers=providers,
        may_notify=request.user.role == "steward",
        KIND_TITLES=KIND_TITLES,
    )


@router.post("/monitor/notify")
async def notify_breach(request: StewardRequest, form: VerifiedForm) -> Response:
    """Tell everybody of a report that it was about them."""
    if not form.get("sure"):
        request.flash_problem(N_("Nobody was told: tick the box first."))
        return request.redirect("/monitor")
    number = form.get("patients", "")
    parameters = build_parameters(
        kind=form.get("kind", ""),
        subject=form.get("subject", ""),
        until=form.get("until", ""),
        patients=int(number) if number.isascii() and number.isdigit() else 0,
        **{"from": form.get("from", "")},
    )
    try:
        answer = parse_values(await request.gateway.invoke("$notify-breach", parameters))
    except Conflict:
        request.flash_problem(N_("Nobody was told: there is more to report now. Look again."))
        return request.redirect("/monitor")
    except Invalid:
        request.flash_problem(N_("Nobody was told: make the report anew."))
        return request.redirect("/monitor")
    told, before = (answer.get(name, ["0"])[0] for name in ("told", "told-before"))
    request.flash(N_("Told now: %(told)s. Told before: %(before)s."), told=told, before=before)
    return request.redirect("/monitor")


def _named_subject(typed: Mapping[str, str]) -> str:
    if typed["kind"] == "emergency":
        return ""
    return typed["organization"] if typed["kind"] == "organization" else typed["subject"]


async def _render(
    request: PortalRequest, typed: Mapping[str, str], error: FieldError | None = None
) -> Response:
    answer, providers = await asyncio.gather(
        request.gateway.invoke_by_get("$suspensions"), fetch_providers(request.gateway)
    )
    return request.render(
        "access_monitor.html",
        suspensions=parse_suspensions(answer),
        providers=providers,
        typed={name: typed.get(name, "") for name in (*_FIELDS, "from", "to")},
        may_suspend=request.user.role in CONTAINMENT_ROLES,
        may_report=request.user.role in AUDIT_READER_ROLES,
        errors=[error] if error else [],
        KIND_TITLES=KIND_TITLES,
        TERMS=TERMS,
    )
