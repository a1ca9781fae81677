"""Links that open the summary for somebody without an account (SMART Health Links)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import segno
from fastapi import APIRouter
from fastapi.responses import Response
from markupsafe import Markup

from ehr_fhir.errors import Invalid, TooMany
from ehr_portal.gateway.operations import (
    build_parameters,
    dash_if_empty,
    fetch_health_links,
    parse_values,
)
from ehr_portal.i18n import N_, local_date
from ehr_portal.web.forms import FieldError, PatientForm, is_day
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import RecordGiverRequest

router = APIRouter()
CONTENT_TITLES = {
    "snapshot": N_("The summary as it is now"),
    "live": N_("The summary as it is each time the link is opened"),
}
STATE_TITLES = {
    "open": N_("Can be opened"),
    "expired": N_("Over"),
    "ended": N_("Ended"),
    "locked": N_("Locked after too many wrong passcodes"),
}
OUTCOME_TITLES = {
    "opened": N_("Opened"),
    "tried": N_("Tried, and got nothing"),
    "wrong-passcode": N_("Wrong passcode"),
}
# What the gateway takes.
_SHORTEST_PASSCODE, LONGEST_PASSCODE, LONGEST_LABEL = 6, 64, 80
_PASSCODE_DIGITS = 6
# What the form offers. Chosen: a journey.
_OFFERED_DAYS = 30
_LONGEST_DAYS = 365


@dataclass(frozen=True)
class ShownLink:
    """A link that was made just now: it is shown once, and kept nowhere."""

    text: str
    passcode: str
    picture: Markup


@router.get("/take-away/links")
async def show_links(request: RecordGiverRequest) -> Response:
    """Show the links, who opened them, and the form for another."""
    return await _render_links(request)


@router.post("/take-away/links/create")
async def create_link(request: RecordGiverRequest, form: PatientForm) -> Response:
    """Make a link and show it, once."""
    errors = _find_errors(request, form)
    if errors:
        return await _render_links(request, form=form, errors=errors)
    passcode = form.get("passcode", "").strip()
    parameters = build_parameters(
        content=dash_if_empty(form.get("content", "")),
        passcode=passcode,
        until=form.get("until", "").strip(),
        label=form.get("label", "").strip(),
    )
    try:
        answer = await request.gateway.invoke(
            f"Patient/{request.patient}/$create-health-link", parameters, request.language
        )
    except TooMany:
        text = N_("There are too many open links. End one first.")
        return await _render_links(request, form=form, errors=[FieldError("label", text)])
    except Invalid:
        text = N_("Choose what the link holds.")
        return await _render_links(request, form=form, errors=[FieldError("content", text)])
    text = parse_values(answer)["link"][0]
    # Level M, as the guide recommends.
    picture = Markup(segno.make(text, error="m").svg_inline(border=4, omitsize=True))  # noqa: S704
    return await _render_links(request, made=ShownLink(text, passcode, picture))


@router.post("/take-away/links/end")
async def end_link(request: RecordGiverRequest, form: PatientForm) -> Response:
    """End a link."""
    parameters = build_parameters(link=dash_if_empty(form.get("link", "")))
    await request.gateway.invoke(f"Patient/{request.patient}/$end-health-link", parameters)
    request.flash(N_("The link opens nothing from this moment."))
    return request.redirect("/take-away/links")


def _find_errors(request: PortalRequest, form: Mapping[str, str]) -> list[FieldError]:
    """Return what of the form has to be put right; the gateway judges it once more."""
    errors = []
    if form.get("content") not in CONTENT_TITLES:
        errors.append(FieldError("content", N_("Choose what the link holds.")))
    # As browsers count, and viewers.
    if len(form.get("label", "").strip().encode("utf-16-le")) // 2 > LONGEST_LABEL:
        errors.append(FieldError("label", N_("A name has 80 characters at most.")))
    if not _SHORTEST_PASSCODE <= len(form.get("passcode", "").strip()) <= LONGEST_PASSCODE:
        errors.append(FieldError("passcode", N_("A passcode has 6 to 64 characters.")))
    until, today = form.get("until", "").strip(), local_date(request.now)
    last = today + timedelta(days=_LONGEST_DAYS)
    if not is_day(until) or not today.isoformat() <= until <= last.isoformat():
        errors.append(FieldError("until", N_("Choose a day within a year from today.")))
    return errors


def _last_day(until: str) -> date:
    """Return the last day on which a link can be opened: it ends where the next one begins.

    >>> _last_day("2026-12-22T16:00:00.000Z").isoformat()
    '2026-12-22'
    """
    return local_date(datetime.fromisoformat(until) - timedelta(milliseconds=1))


async def _render_links(
    request: PortalRequest,
    *,
    made: ShownLink | None = None,
    form: Mapping[str, str] | None = None,
    errors: Sequence[FieldError] = (),
) -> Response:
    links = await fetch_health_links(request.gateway, request.patient)
    today = local_date(request.now)
    offered = {
        "label": "",
        "content": "snapshot",
        "passcode": f"{secrets.randbelow(10**_PASSCODE_DIGITS):0{_PASSCODE_DIGITS}d}",
        "until": (today + timedelta(days=_OFFERED_DAYS)).isoformat(),
    }
    return request.render(
        "health_links.html",
        links=[(link, link.parse_parts("opening"), _last_day(link.until)) for link in links],
        made=made,
        form={**offered, **(form or {})},
        errors=list(errors),
        first_day=today.isoformat(),
        last_day=(today + timedelta(days=_LONGEST_DAYS)).isoformat(),
        CONTENT_TITLES=CONTENT_TITLES,
        STATE_TITLES=STATE_TITLES,
        OUTCOME_TITLES=OUTCOME_TITLES,
        LONGEST_LABEL=LONGEST_LABEL,
        LONGEST_PASSCODE=LONGEST_PASSCODE,
    )
