"""A clinician writes down a round of vital signs: all that NEWS2 asks for, or part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.pages.writing import (
    REFUSALS,
    FormSentBefore,
    entry_author,
    new_token,
    refusal_error,
    require_person,
    sent_before_error,
    token_of,
    transaction_entry,
)
from ehr_portal.record.new_entries import ENTRY_SYSTEM, says_the_same
from ehr_portal.record.new_vital_signs import (
    VITAL_SIGNS,
    build_round,
    parse_round,
    round_identifiers,
)
from ehr_portal.record.news2 import ACVPU_TEXTS
from ehr_portal.web.forms import FieldError, VerifiedForm, translate_faults
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()


@router.get("/patients/{patient}/write/vital-signs")
async def show_vital_signs_form(request: ClinicianRequest, patient: str) -> Response:
    """Show the form, empty but for the time."""
    now = request.now.astimezone(JURISDICTION.zone)
    return await _render_form(request, patient, {"at": f"{now:%Y-%m-%dT%H:%M}"}, new_token(), [])


@router.post("/patients/{patient}/write/vital-signs")
async def write_vital_signs(
    request: ClinicianRequest, patient: str, form: VerifiedForm
) -> Response:
    """Keep the round: all of it, or nothing."""
    token = token_of(form)
    measured, faults = parse_round(form, request.now)
    errors = translate_faults(request, faults)
    if measured is not None:
        observations = build_round(measured, patient, entry_author(request), token)
        try:
            await _keep_round(request, patient, observations, token)
        except FormSentBefore:
            token, errors = new_token(), [sent_before_error(VITAL_SIGNS[0].field)]
        except REFUSALS:
            errors = [refusal_error(VITAL_SIGNS[0].field)]
        else:
            request.flash(N_("The vital signs are in the record."))
            return request.redirect(f"/patients/{patient}")
    return await _render_form(request, patient, form, token, errors)


async def _keep_round(
    request: PortalRequest, patient: str, observations: Sequence[Resource], token: str
) -> None:
    """Create a round in one transaction, unless the same form made it before.

    Raises FormSentBefore where that one says something else: no round has values of two.
    """
    names = ",".join(f"{ENTRY_SYSTEM}|{name}" for name in round_identifiers(token))
    params = {"patient": patient, "identifier": names}
    before = await request.gateway.search("Observation", params)
    stored = {observation["identifier"][0]["value"]: observation for observation in before.matches}
    own = {observation["identifier"][0]["value"]: observation for observation in observations}
    if stored and not (
        stored.keys() == own.keys()
        and all(says_the_same(stored[name], observation) for name, observation in own.items())
    ):
        raise FormSentBefore(before.matches[0])
    await request.gateway.transact(transaction_entry(observation) for observation in observations)


async def _render_form(
    request: PortalRequest,
    patient: str,
    values: Mapping[str, str],
    token: str,
    errors: list[FieldError],
) -> Response:
    return request.render(
        "write_vital_signs.html",
        patient=patient,
        person=await require_person(request, patient),
        values=values,
        token=token,
        errors=errors,
        signs=VITAL_SIGNS,
        levels={"": N_("Not looked at"), **ACVPU_TEXTS},
    )
