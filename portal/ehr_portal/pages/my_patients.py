"""A clinician's patients: those they marked, those they opened lately, those on the ward.

The rows change by themselves (server-sent events). Nothing of it is kept by the portal: a mark is a
CareTeam of the gateway, which the patient sees too; what was opened is in the audit log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from ehr_fhir.errors import EhrError, Forbidden, NotFound, TooMany
from ehr_fhir.identifier_systems import MARK_SYSTEM
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.pages.record_views import PatientSummary, summarize_patient
from ehr_portal.record.patient_list import (
    MARKED,
    MAX_PATIENTS,
    OPENED,
    WARD,
    ListedPatient,
    PatientList,
    fetch_patient_list,
)
from ehr_portal.web.forms import VerifiedForm
from ehr_portal.web.live_rows import RenderedRows, stream_rows
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
NAVIGATION = (NavigationLink("clinician", "/my-patients", N_("My patients"), 10, shortcut="m"),)
MINE, RECENT = "mine", "recent"
# The lists of the page, by the gateway's names.
_LISTS = {MINE: MARKED, RECENT: OPENED, WARD: WARD}
LIST_TITLES = {MINE: N_("Mine"), RECENT: N_("Opened lately"), WARD: N_("On the ward")}


@dataclass(frozen=True)
class ListLine:
    """One line of a list."""

    row: ListedPatient
    person: PatientSummary
    # Whether the reader marked the patient as their own.
    is_marked: bool


@router.get("/my-patients")
async def show_my_patients(
    request: ClinicianRequest, which: Annotated[str, Query(alias="list")] = MINE
) -> Response:
    """Show one of the lists."""
    which = which if which in LIST_TITLES else MINE
    shown_lists = request.session.shown_lists
    listed, lines = await _fetch_lines(request, which, shown_lists.get(which, ""))
    shown_lists[which] = listed.shown
    return request.render(
        "my_patients.html",
        LIST_TITLES=LIST_TITLES,
        loaded_at=request.now.isoformat(),
        max_patients=MAX_PATIENTS,
        lines=lines,
        which=which,
    )


@router.get("/my-patients/events")
async def stream_my_patients(
    request: ClinicianRequest, which: Annotated[str, Query(alias="list")] = MINE
) -> Response:
    """Send the rows of a list whenever they differ, each time as this reader may see them then."""
    which = which if which in LIST_TITLES else MINE
    streams, sessions = request.portal.live_streams, request.portal.sessions
    session_id = request.session.id
    try:
        streams.check_room(session_id)
    except TooMany as refusal:
        return PlainTextResponse(f"{refusal}\n", 429)

    shown = request.session.shown_lists.get(which, "")

    async def render_rows() -> RenderedRows:
        nonlocal shown
        listed, lines = await _fetch_lines(request, which, shown)
        shown = listed.shown
        html = request.render_part("my_patients_rows.html", lines=lines, which=which)
        return RenderedRows(html, frozenset(listed.patients))

    # To look at a session does not lengthen it: a screen that nobody uses is logged out.
    events = stream_rows(
        streams, session_id, lambda: sessions.load(session_id) is not None, render_rows
    )
    # A proxy that collects what it passes on would hold events back (nginx).
    return StreamingResponse(
        events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


@router.post("/my-patients/mark")
async def mark_patient(request: ClinicianRequest, form: VerifiedForm) -> Response:
    """Count a patient as one's own."""
    patient, back = form.get("patient", ""), _list_path(form.get("list", ""))
    try:
        await _set_mark(request, patient, is_marked=True)
    except (Forbidden, NotFound):
        raise
    except EhrError as refusal:
        if refusal.status not in (400, 422):
            raise
        request.flash_problem(N_("Your account has no entry in the directory of staff."))
        return request.redirect(back)
    request.flash(N_("The patient is among yours. The patient sees that, too."))
    return request.redirect(back)


@router.post("/my-patients/unmark")
async def unmark_patient(request: ClinicianRequest, form: VerifiedForm) -> Response:
    """Count a patient as one's own no longer."""
    await _set_mark(request, form.get("patient", ""), is_marked=False)
    request.flash(N_("The patient is no longer among yours."))
    return request.redirect(_list_path(form.get("list", "")))


async def _fetch_lines(
    request: PortalRequest, which: str, shown: str
) -> tuple[PatientList, list[ListLine]]:
    """Return a list and its lines, as this reader may see them at this moment."""
    now = request.now
    listed = await fetch_patient_list(request.gateway, _LISTS[which], request.language, now, shown)
    lines = [
        ListLine(row, summarize_patient(row.patient, now), row.id in listed.marked)
        for row in listed.rows
    ]
    if which == MINE:
        lines.sort(key=lambda line: line.person.name.latin or line.person.name.han)
    return listed, lines


async def _set_mark(request: PortalRequest, patient: str, *, is_marked: bool) -> None:
    gateway, user = request.gateway, request.user
    value = f"{user.login}/{patient}"
    status = "active" if is_marked else "inactive"
    results = await gateway.search("CareTeam", {"identifier": f"{MARK_SYSTEM}|{value}"})
    if results.matches:
        team = results.matches[0]
        if team.get("status") != status:
            await gateway.update({**team, "status": status})
    elif is_marked:
        team = _build_mark(request, patient, value)
        await gateway.create(team, if_none_exist=f"identifier={MARK_SYSTEM}|{value}")


def _build_mark(request: PortalRequest, patient: str, value: str) -> Resource:
    user = request.user
    display = f"{user.latin} {user.han}".strip()
    organization = {"reference": f"Organization/{user.organization}"}
    return {
        "resourceType": "CareTeam",
        "identifier": [{"system": MARK_SYSTEM, "value": value}],
        "status": "active",
        "name": display,
        "subject": {"reference": f"Patient/{patient}"},
        "period": {"start": request.now.isoformat()},
        "participant": [
            {
                "member": {"reference": f"Practitioner/{user.login}", "display": display},
                "onBehalfOf": organization,
            }
        ],
        "managingOrganization": [organization],
    }


def _list_path(which: str) -> str:
    return f"/my-patients?list={which}" if which in LIST_TITLES else "/my-patients"
