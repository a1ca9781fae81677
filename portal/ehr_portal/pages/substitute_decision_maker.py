"""Who decides for a patient under 16 or without capacity: recorded by the one who treats."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, TooMany
from ehr_portal.gateway.operations import parameters, values
from ehr_portal.i18n import N_
from ehr_portal.pages.record_views import person
from ehr_portal.record.record import patient_or_none
from ehr_portal.web.request import ClinicianPage, Form, Page

router = APIRouter()
BASES = {
    "minor": N_("The patient is under 16"),
    "incapable": N_("The patient cannot decide at present"),
}
# In the order of the law; the gateway holds to it.
RELATIONS = {
    "parent": N_("Parent"),
    "guardian": N_("Guardian"),
    "director-of-social-welfare": N_("Director of Social Welfare"),
    "court-appointed": N_("Appointed by a court"),
    "family": N_("Family member"),
    "resident": N_("A person living with the patient"),
    "provider": N_("A provider who treats the patient"),
}


@router.get("/patients/{patient}/substitute")
async def show(page: ClinicianPage, patient: str) -> Response:
    """Show the form."""
    return await _form(page, patient, {})


@router.post("/patients/{patient}/substitute")
async def record(page: ClinicianPage, patient: str, form: Form) -> Response:
    """Record it and show the code to hand over, once."""
    names = ("relation", "basis", "reason", "until")
    given = {name: form.get(name, "").strip() for name in names}
    if given["relation"] not in RELATIONS or given["basis"] not in BASES:
        return await _form(page, patient, given, [("basis", N_("Choose one of each."))])
    if not given["until"] or len(given["reason"]) < 3:
        field = "reason" if given["until"] else "until"
        return await _form(page, patient, given, [(field, N_("Say why, and until when."))])
    try:
        made = await page.gateway.call(f"Patient/{patient}/$record-substitute", parameters(**given))
    except TooMany:
        text = N_("There are too many open invitations. Take one back first.")
        return await _form(page, patient, given, [("basis", text)])
    except Invalid:
        text = N_("Somebody who comes before decides already, or what you typed says too little.")
        return await _form(page, patient, given, [("basis", text)])
    return await _form(page, patient, {}, code=values(made)["code"][0])


async def _form(
    page: Page,
    patient: str,
    given: dict[str, str],
    wrong: list[tuple[str, str]] | None = None,
    code: str = "",
) -> Response:
    found = await patient_or_none(page.gateway, patient)
    if found is None:
        return page.render("nothing_shared.html", status=404, patient=patient)
    return page.render(
        "substitute.html",
        status=422 if wrong else 200,
        patient=patient,
        person=person(found),
        given=given,
        code=" ".join(code[at : at + 4] for at in range(0, len(code), 4)),
        BASES=BASES,
        RELATIONS=RELATIONS,
        wrong=wrong or [],
    )
