"""Emergency access: one page, one reason, and what follows from it said before."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import EhrError, NotFound, TooMany
from ehr_portal.gateway.operations import parameters, values
from ehr_portal.i18n import N_
from ehr_portal.web.request import ClinicianPage, Form, Page

router = APIRouter()


@router.get("/emergency")
def by_card(page: ClinicianPage) -> Response:
    """Show the form for a person known by the identity card."""
    return _form(page, "")


@router.get("/patients/{patient}/emergency")
def by_record(page: ClinicianPage, patient: str) -> Response:
    """Show the form for a patient whose record is at hand."""
    return _form(page, patient)


@router.post("/emergency")
async def declare_by_card(page: ClinicianPage, form: Form) -> Response:
    """Open the record of the person with this card."""
    return await _declare(page, "", form.get("hkid", ""), form.get("reason", ""))


@router.post("/patients/{patient}/emergency")
async def declare(page: ClinicianPage, patient: str, form: Form) -> Response:
    """Open this record."""
    return await _declare(page, patient, "", form.get("reason", ""))


async def _declare(page: Page, patient: str, hkid: str, reason: str) -> Response:
    path = f"Patient/{patient}/$declare-emergency" if patient else "Patient/$declare-emergency"
    wrong = ("reason", N_("Say in a sentence what the emergency is."))
    if not patient and not hkid.strip():
        wrong = ("hkid", N_("Type the identity card number."))
    elif len(reason.strip()) >= 3:
        try:
            made = values(
                await page.gateway.call(path, parameters(hkid=hkid.strip(), reason=reason))
            )
            text = N_("The record is open to you for 24 hours. The patient was told.")
            page.stay.note("done", page.text(text))
            return page.go(f"/patients/{made['patient'][0]}")
        except NotFound:
            wrong = ("hkid", N_("There is no record of this person. Check the number."))
        except TooMany:
            wrong = ("reason", N_("You declared too many emergencies today."))
        except EhrError as error:
            if error.status not in (400, 422):
                raise
    return _form(page, patient, hkid, reason, [wrong])


def _form(
    page: Page,
    patient: str,
    hkid: str = "",
    reason: str = "",
    wrong: list[tuple[str, str]] | None = None,
) -> Response:
    return page.render(
        "emergency.html",
        status=422 if wrong else 200,
        patient=patient,
        hkid=hkid,
        reason=reason,
        wrong=wrong or [],
    )
