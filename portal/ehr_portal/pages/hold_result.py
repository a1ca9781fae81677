"""A clinician keeps a result from the patient until a date, or lets it go early."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Invalid, NotFound, Unprocessable
from ehr_portal.gateway.operations import listed, parameters
from ehr_portal.i18n import N_
from ehr_portal.pages.record_views import item_of
from ehr_portal.web.request import ClinicianPage, Form, Page

router = APIRouter()
HELD = frozenset(
    {"Composition", "DiagnosticReport", "DocumentReference", "ImagingStudy", "Media", "Observation"}
)


@router.get("/patients/{patient}/item/{resource_type}/{resource_id}/hold")
async def show(page: ClinicianPage, patient: str, resource_type: str, resource_id: str) -> Response:
    """Show the form."""
    return await _form(page, patient, resource_type, resource_id)


@router.post("/patients/{patient}/item/{resource_type}/{resource_id}/hold")
async def hold(
    page: ClinicianPage, patient: str, resource_type: str, resource_id: str, form: Form
) -> Response:
    """Keep the result from the patient."""
    until, reason = form.get("until", "").strip(), form.get("reason", "").strip()
    item = f"/patients/{patient}/item/{resource_type}/{resource_id}"
    wrong = [("until", N_("Choose a day in the next four weeks."))]
    if len(reason) < 3:
        wrong = [("reason", N_("Say in a sentence why you hold it."))]
    elif until:
        body = parameters(until=until, reason=reason)
        try:
            await page.gateway.call(f"{resource_type}/{resource_id}/$hold", body)
        except Conflict:
            return page.go(item)
        except Unprocessable as error:
            # Either the reason says too little or the day is out of bounds.
            if len(reason) < 10:
                wrong = [("reason", N_("Say in a sentence why you hold it."))]
            _ = error
        except Invalid:
            wrong = [("until", N_("Type a day as year-month-day."))]
        else:
            page.stay.note("done", page.text(N_("The patient does not see it until that day.")))
            return page.go(item)
    return await _form(page, patient, resource_type, resource_id, until, reason, wrong)


@router.post("/patients/{patient}/release")
async def release(page: ClinicianPage, patient: str, form: Form) -> Response:
    """End a hold early."""
    await page.gateway.call("$release-hold", parameters(hold=form.get("hold", "")))
    page.stay.note("done", page.text(N_("The patient sees it from this moment.")))
    return page.go(f"/patients/{patient}")


async def _form(
    page: Page,
    patient: str,
    kind: str,
    identity: str,
    until: str = "",
    reason: str = "",
    wrong: list[tuple[str, str]] | None = None,
) -> Response:
    found = await item_of(page, kind, identity, patient)
    if kind not in HELD or found.entry.author != page.user.organization:
        raise NotFound("This is not yours to hold.")
    held = await listed(page.gateway, f"Patient/{patient}/$held", "held")
    if any(one.record == f"{kind}/{identity}" for one in held):
        return page.go(f"/patients/{patient}/item/{kind}/{identity}")
    today = page.now.date()
    return page.render(
        "hold.html",
        status=422 if wrong else 200,
        patient=patient,
        item=found,
        until=until,
        reason=reason,
        first=(today + timedelta(days=1)).isoformat(),
        last=(today + timedelta(days=27)).isoformat(),
        wrong=wrong or [],
    )
