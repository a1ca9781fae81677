"""The clinician requests access: reason, domains, term; then the patient's answer."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, EhrError, Forbidden, NotFound, TooMany, Unprocessable
from ehr_portal.gateway.operations import (
    build_parameters,
    fetch_access_requests,
    fetch_withheld_marker,
    parse_values,
)
from ehr_portal.i18n import N_
from ehr_portal.pages.record_views import fetch_person
from ehr_portal.record.sections import DOMAIN_TITLES
from ehr_portal.web.forms import FieldError, TickedDomains, VerifiedForm
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
HOURS_TITLES = {"24": N_("One day"), "168": N_("One week"), "720": N_("30 days")}
_REASON_MISSING = FieldError("reason", N_("Say in a sentence why you need it."))
_NOT_SHARED = FieldError(
    "domain",
    N_(
        "The patient does not share the record with your hospital or clinic, so a request opens"
        " nothing. The patient can turn sharing on."
    ),
)


@router.get("/patients/{patient}/ask")
async def show_request_form(request: ClinicianRequest, patient: str) -> Response:
    """Show the form, with the domains ticked that are known to be withheld."""
    withheld_marker = await fetch_withheld_marker(request.gateway, patient)
    return await _render_form(request, patient, list(withheld_marker.domains))


@router.post("/patients/{patient}/ask")
async def request_access(
    request: ClinicianRequest, patient: str, form: VerifiedForm, domains: TickedDomains
) -> Response:
    """Make the request and go on to the patient's answer."""
    reason, hours = form.get("reason", "").strip(), form.get("hours", "24")
    errors = []
    if not domains:
        errors.append(FieldError("domain", N_("Choose what you need to see.")))
    if len(reason) < 3:
        errors.append(_REASON_MISSING)
    if not errors:
        parameters = build_parameters(
            reason=reason, domain=domains, hours=int(hours) if hours in HOURS_TITLES else 24
        )
        try:
            answer = await request.gateway.invoke(f"Patient/{patient}/$request-access", parameters)
            access_request_id = parse_values(answer)["id"][0]
            return request.redirect(f"/patients/{patient}/ask/{access_request_id}")
        except TooMany:
            errors.append(FieldError("reason", N_("There were too many requests. Wait a while.")))
        except Unprocessable:
            # The reason says too little, or there is no sharing that a grant could add to.
            marker = await fetch_withheld_marker(request.gateway, patient)
            errors.append(_REASON_MISSING if marker.shared else _NOT_SHARED)
    return await _render_form(request, patient, domains, reason=reason, hours=hours, errors=errors)


@router.get("/patients/{patient}/ask/{access_request_id}")
async def show_answer(request: ClinicianRequest, patient: str, access_request_id: str) -> Response:
    """Show the state of a request, and the form for the patient's code."""
    return await _render_answer(request, patient, access_request_id)


@router.post("/patients/{patient}/ask/{access_request_id}")
async def redeem_code(
    request: ClinicianRequest, patient: str, access_request_id: str, form: VerifiedForm
) -> Response:
    """Redeem the patient's one-time code, or their smart identity card."""
    fields = {name: form.get(name, "").strip() for name in ("code", "hkid", "pin")}
    try:
        await request.gateway.invoke(
            "$redeem-access", build_parameters(request=access_request_id, **fields)
        )
    except Conflict:
        # Answered or too old by now: the page says which.
        return request.redirect(f"/patients/{patient}/ask/{access_request_id}")
    except NotFound:
        raise
    except EhrError as error:
        if not isinstance(error, Forbidden | Unprocessable) and error.status not in (400, 401):
            raise
        field = "code" if fields["code"] or not fields["hkid"] else "hkid"
        text = N_("That is not right. Ask the patient again, or make a new request.")
        return await _render_answer(request, patient, access_request_id, [FieldError(field, text)])
    request.flash(N_("The patient agreed. You see more of the record now."))
    return request.redirect(f"/patients/{patient}")


async def _render_form(
    request: PortalRequest,
    patient: str,
    domains: list[str],
    *,
    reason: str = "",
    hours: str = "24",
    errors: list[FieldError] | None = None,
) -> Response:
    person = await fetch_person(request, patient)
    if person is None:
        return request.render("nothing_shared.html", status=404, patient=patient)
    return request.render(
        "request_access.html",
        patient=patient,
        person=person,
        domains=domains,
        reason=reason,
        hours=hours,
        HOURS_TITLES=HOURS_TITLES,
        DOMAIN_TITLES=DOMAIN_TITLES,
        errors=errors or [],
    )


async def _render_answer(
    request: PortalRequest,
    patient: str,
    access_request_id: str,
    errors: list[FieldError] | None = None,
) -> Response:
    access_requests = await fetch_access_requests(request.gateway, patient)
    access_request = next(
        (candidate for candidate in access_requests if candidate.id == access_request_id), None
    )
    if access_request is None:
        raise NotFound("There is no such request.")
    return request.render(
        "access_answer.html",
        person=await fetch_person(request, patient),
        patient=patient,
        access_request=access_request,
        DOMAIN_TITLES=DOMAIN_TITLES,
        errors=errors or [],
    )
