"""Step-up, emergency and review over HTTP: operations under /fhir, each one step."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, Invalid, NotFound
from ehr_gateway.access_requests import emergency, review, step_up
from ehr_gateway.access_requests.markers import find_marker
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.access_requests.request_rows import select_requests
from ehr_gateway.access_requests.role_checks import NO_PATIENT, can_manage, require_clinician
from ehr_gateway.audit_log import recorder
from ehr_gateway.http.authentication import Authenticated, require_access_scope
from ehr_gateway.http.body import read_fhir_body
from ehr_gateway.http.negotiation import parse_preferences
from ehr_gateway.http.operation_parameters import parse_parameters, require_plain_text
from ehr_gateway.http.parameters import parameter, parameters_response
from ehr_gateway.http.query_string import check_parameters

router = APIRouter(prefix="/fhir", dependencies=[Depends(require_access_scope)])
Body = Annotated[bytes, Depends(read_fhir_body)]
_GET = ["GET", "HEAD"]


@router.api_route("/Patient/{patient}/$withheld", methods=_GET)
def withheld(context: Authenticated, patient: str) -> Response:
    """Say what the marker policy lets a requester learn of what is withheld."""
    check_parameters(context.request, lenient=parse_preferences(context.request).lenient)
    audit_context = context.begin_audit("operation", "$withheld")
    if context.access.requester.role not in ("clinician", "system"):
        raise Forbidden("The marker is for those who treat.")
    context.add_audit_entry(recorder.build_event_rows(audit_context=audit_context, patient=None))
    if context.gateway.settings.limits.withheld_marker == "hide":
        return parameters_response(context)
    with context.gateway.store.read_transaction() as connection:
        found = find_marker(connection, context.access, patient)
    return parameters_response(
        context,
        parameter("shared", found.shared),
        parameter("hidden", found.hidden),
        *({"name": "domain", "valueCode": domain} for domain in found.domains),
    )


@router.post("/Patient/{patient}/$request-access")
def request_access(context: Authenticated, patient: str, body: Body) -> Response:
    """Ask the patient to open restricted domains; the patient is sent a code."""
    context.begin_audit("operation", "$request-access")
    limits = context.gateway.settings.limits
    given = parse_parameters(body, "reason", "domain", "hours")
    made = step_up.request_step_up(
        context,
        require_clinician(context),
        patient,
        reason=given.reason(limits.reason_length),
        domains=given.domains(),
        hours=given.integer("hours", 1, limits.step_up_hours),
    )
    return parameters_response(context, *build_request_parts(made))


@router.post("/$redeem-access")
def redeem_access(context: Authenticated, body: Body) -> Response:
    """Approve a request by the patient's code, or by the patient's smart ID at the desk."""
    context.begin_audit("operation", "$redeem-access")
    given = parse_parameters(body, "request", "code", "hkid", "pin")
    who, request, code = (
        require_clinician(context),
        given.text("request"),
        given.optional_text("code"),
    )
    if code is not None:
        made = step_up.approve_by_code(context, who, request, code)
    else:
        hkid, pin = given.text("hkid"), given.text("pin")
        made = step_up.approve_by_eid(context, who, request, hkid, pin)
    return parameters_response(context, *build_request_parts(made))


@router.post("/$approve-access")
def approve_access(context: Authenticated, body: Body) -> Response:
    """Let the patient approve a request on the own page."""
    context.begin_audit("operation", "$approve-access")
    request = parse_parameters(body, "request").text("request")
    return parameters_response(
        context, *build_request_parts(step_up.answer_step_up(context, request, approves=True))
    )


@router.post("/$refuse-access")
def refuse_access(context: Authenticated, body: Body) -> Response:
    """Let the patient, or who decides for him, refuse a request."""
    context.begin_audit("operation", "$refuse-access")
    request = parse_parameters(body, "request").text("request")
    return parameters_response(
        context, *build_request_parts(step_up.answer_step_up(context, request, approves=False))
    )


@router.api_route("/Patient/{patient}/$access-requests", methods=_GET)
def access_requests(context: Authenticated, patient: str) -> Response:
    """List a patient's requests: all for the patient, the own ones for a clinician."""
    check_parameters(context.request, lenient=parse_preferences(context.request).lenient)
    audit_context = context.begin_audit("operation", "$access-requests")
    requester, now = context.access.requester, context.access.now_ms
    condition = "kind IN ('step-up', 'emergency') AND patient = :patient"
    values: dict[str, object] = {"patient": patient}
    with context.gateway.store.read_transaction() as connection:
        if requester.role == "clinician":
            condition += " AND person = :person AND organization = :organization"
            values |= {"person": requester.person, "organization": requester.organization}
        elif not (requester.role == "patient" and requester.patient == patient) and not can_manage(
            connection, context.access, patient
        ):
            raise NotFound(NO_PATIENT)
        found = select_requests(connection, condition, **values)
    context.add_audit_entry(
        recorder.build_event_rows(audit_context=audit_context, patient=patient if found else None)
    )
    listed = [
        {
            "name": "request",
            "part": [
                *build_request_parts(one),
                parameter("open", one.state == "proposed" and one.expires_ms > now),
            ],
        }
        for one in found
    ]
    return parameters_response(context, *listed)


@router.post("/Patient/$declare-emergency")
def declare_emergency_by_card(context: Authenticated, body: Body) -> Response:
    """Open the record of the person with this identity card number, in an emergency."""
    context.begin_audit("operation", "$declare-emergency")
    given = parse_parameters(body, "hkid", "reason")
    who = require_clinician(context)
    reason = given.reason(context.gateway.settings.limits.reason_length)
    patient = emergency.find_patient_by_identity_number(context, who, given.text("hkid"))
    return parameters_response(
        context, *build_request_parts(emergency.declare_emergency(context, who, patient, reason))
    )


@router.post("/Patient/{patient}/$declare-emergency")
def declare_emergency(context: Authenticated, patient: str, body: Body) -> Response:
    """Open a record in an emergency: for this person of this organisation alone."""
    context.begin_audit("operation", "$declare-emergency")
    given = parse_parameters(body, "reason")
    reason = given.reason(context.gateway.settings.limits.reason_length)
    made = emergency.declare_emergency(context, require_clinician(context), patient, reason)
    return parameters_response(context, *build_request_parts(made))


@router.api_route("/$access-reviews", methods=_GET)
def access_reviews(context: Authenticated) -> Response:
    """List what waits for the steward's review, or what was reviewed."""
    pairs = check_parameters(
        context.request, lenient=parse_preferences(context.request).lenient, allowed=("state",)
    )
    audit_context = context.begin_audit("operation", "$access-reviews")
    if context.access.requester.role != "steward":
        raise Forbidden("Only a steward reviews.")
    state = dict(pairs).get("state", "waiting")
    if state not in ("waiting", "done"):
        raise Invalid("The parameter state is waiting or done.")
    found = review.list_reviews(context.gateway.store, done=state == "done")
    for patient in {one.patient: None for one in found} or (None,):
        context.add_audit_entry(
            recorder.build_event_rows(audit_context=audit_context, patient=patient)
        )
    return parameters_response(
        context, *({"name": "access", "part": build_request_parts(one)} for one in found)
    )


@router.post("/$review-access")
def review_access(context: Authenticated, body: Body) -> Response:
    """Put the steward's finding on the books."""
    context.begin_audit("operation", "$review-access")
    given = parse_parameters(body, "access", "finding", "note")
    finding = given.code("finding", review.FINDINGS)
    note = require_plain_text(given.text("note"), "note", 3)
    review.review_access(context, given.text("access"), finding, note)
    return parameters_response(context, parameter("finding", finding))
