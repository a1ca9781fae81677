"""A clinician finds a patient by card number or name."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_portal.i18n import N_
from ehr_portal.pages.record_views import summarize_patient
from ehr_portal.record.identity_card import parse_identity_number
from ehr_portal.web.forms import VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
NAVIGATION = (NavigationLink("clinician", "/patients", N_("Find a patient"), 20, shortcut="f"),)
# A name that fits more people is asked for more exactly. Chosen: what a screen or two can show.
MAX_MATCHES = 20
_MAX_TYPED_CHARACTERS = 100


@router.get("/patients")
async def show_search(request: ClinicianRequest, search: Annotated[str, Query()] = "") -> Response:
    """Show the search form and, for a search of this session, the patients that match."""
    typed = request.session.resolve_handle(search) if search else None
    if typed is None:
        return request.render("find_patient.html", typed="", patients=None, has_more=False)
    number = parse_identity_number(typed)
    params = {"identifier": number} if number else {"name": typed}
    results = await request.gateway.search_by_post(
        "Patient", {**params, "_count": str(MAX_MATCHES)}
    )
    return request.render(
        "find_patient.html",
        typed=typed,
        patients=[(patient["id"], summarize_patient(patient)) for patient in results.matches],
        has_more=results.next_link is not None,
    )


@router.post("/patients")
async def search_patients(request: ClinicianRequest, form: VerifiedForm) -> Response:
    """Keep what was typed in the session, so that no card number or name stands in an address."""
    typed = form.get("who", "").strip()[:_MAX_TYPED_CHARACTERS]
    if not typed:
        return request.redirect("/patients")
    return request.redirect(f"/patients?search={request.session.issue_handle(typed)}")
