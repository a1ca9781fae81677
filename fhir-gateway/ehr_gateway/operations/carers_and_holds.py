"""Holds and carers over HTTP: operations under /fhir, each one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, NotFound
from ehr_fhir.intervals import date_interval
from ehr_gateway.access_requests import carers, holds
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.access_requests.request_rows import AccessRequest
from ehr_gateway.access_requests.role_checks import NO_PATIENT, require_clinician
from ehr_gateway.audit_log import recorder
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import Authenticated, RequestContext, require_access_scope
from ehr_gateway.http.body import read_fhir_body
from ehr_gateway.http.negotiation import parse_preferences
from ehr_gateway.http.operation_parameters import OperationParameters, parse_parameters
from ehr_gateway.http.parameters import parameter, parameters_response
from ehr_gateway.http.query_string import check_parameters

router = APIRouter(prefix="/fhir", dependencies=[Depends(require_access_scope)])
Body = Annotated[bytes, Depends(read_fhir_body)]
_GET = ["GET", "HEAD"]


@router.post("/Patient/{patient}/$invite-carer")
def invite_carer(context: Authenticated, patient: str, body: Body) -> Response:
    """Let a patient invite a carer; the answer holds the code to hand over."""
    context.begin_audit("operation", "$invite-carer")
    given = parse_parameters(body, "power", "domain", "until")
    made, code = carers.invite_carer(
        context,
        patient,
        power=given.code("power", carers.POWERS),
        closed_domains=given.domains(needed=False),
        until_ms=_until(given) if given.optional_text("until") else None,
    )
    return parameters_response(context, parameter("code", code), *build_request_parts(made))


@router.post("/Patient/{patient}/$record-substitute")
def record_substitute(context: Authenticated, patient: str, body: Body) -> Response:
    """Record who decides for a patient; the answer holds the code to hand over."""
    context.begin_audit("operation", "$record-substitute")
    given = parse_parameters(body, "relation", "basis", "reason", "until")
    made, code = carers.record_substitute(
        context,
        patient,
        relation=given.code("relation", carers.RELATIONS),
        basis="minor" if given.code("basis", carers.BASES) == "minor" else "incapable",
        reason=given.reason(context.gateway.settings.limits.reason_length),
        until_ms=_until(given),
    )
    return parameters_response(context, parameter("code", code), *build_request_parts(made))


@router.post("/$accept-invitation")
def accept_invitation(context: Authenticated, body: Body) -> Response:
    """Let a carer take up an invitation by its code."""
    context.begin_audit("operation", "$accept-invitation")
    made = carers.accept_invitation(context, parse_parameters(body, "code").text("code"))
    return parameters_response(context, *build_request_parts(made, reason=False))


@router.post("/$end-carer")
def end_carer(context: Authenticated, body: Body) -> Response:
    """End a carer's power, or take an invitation back."""
    context.begin_audit("operation", "$end-carer")
    carers.end_carer(context, parse_parameters(body, "carer").text("carer"))
    return parameters_response(context, parameter("ended", True))


@router.api_route("/Patient/{patient}/$carers", methods=_GET)
def list_carers(context: Authenticated, patient: str) -> Response:
    """List a patient's carers and open invitations."""
    audit_context = _begin(context, "$carers")
    with context.gateway.store.read_transaction() as connection:
        found = carers.list_carers(connection, context, patient)
    context.add_audit_entry(recorder.build_event_rows(audit_context=audit_context, patient=patient))
    return parameters_response(context, *_listed("carer", found))


@router.api_route("/$acting-for", methods=_GET)
def acting_for(context: Authenticated) -> Response:
    """List whom a carer may act for now."""
    audit_context = _begin(context, "$acting-for")
    if context.access.requester.role != "carer":
        raise Forbidden("This is for carers.")
    with context.gateway.store.read_transaction() as connection:
        found = carers.list_represented_patients(connection, context)
    context.add_audit_entry(recorder.build_event_rows(audit_context=audit_context, patient=None))
    return parameters_response(
        context,
        *(
            {
                "name": "person",
                "part": [
                    parameter("patient", row["patient"]),
                    parameter("view", bool(row["can_view"])),
                    parameter("manage", bool(row["can_manage"])),
                ],
            }
            for row in found
        ),
    )


@router.post("/{resource_type}/{logical_id}/$hold")
def hold(context: Authenticated, resource_type: str, logical_id: str, body: Body) -> Response:
    """Keep a result from the patient until a date."""
    context.begin_audit("operation", "$hold")
    given = parse_parameters(body, "reason", "until")
    made = holds.hold_result(
        context,
        require_clinician(context),
        resource_type,
        logical_id,
        reason=given.reason(context.gateway.settings.limits.reason_length),
        until_ms=_until(given),
    )
    return parameters_response(context, *build_request_parts(made))


@router.post("/$release-hold")
def release_hold(context: Authenticated, body: Body) -> Response:
    """End a hold early."""
    context.begin_audit("operation", "$release-hold")
    holds.release_hold(context, parse_parameters(body, "hold").text("hold"))
    return parameters_response(context, parameter("released", True))


@router.api_route("/Patient/{patient}/$held", methods=_GET)
def held(context: Authenticated, patient: str) -> Response:
    """List what is held back: what kind, who holds it, until when; the reason to its own place."""
    audit_context = _begin(context, "$held")
    with context.gateway.store.read_transaction() as connection:
        _check_reader(connection, context, patient)
        found = holds.list_hold_stubs(connection, context, patient)
        kinds = {one.id: _domain(connection, str(one.details["record"])) for one in found}
    context.add_audit_entry(
        recorder.build_event_rows(audit_context=audit_context, patient=patient if found else None)
    )
    if context.access.requester.role == "clinician":
        return parameters_response(context, *_listed("held", found))
    names = ("id", "organization", "until")
    listed = [
        {
            "name": "held",
            "part": [
                *(part for part in build_request_parts(one, reason=False) if part["name"] in names),
                parameter("type", str(one.details["record"]).partition("/")[0]),
                {"name": "domain", "valueCode": kinds[one.id]},
            ],
        }
        for one in found
    ]
    return parameters_response(context, *listed)


def _begin(context: RequestContext, operation: str) -> recorder.AuditContext:
    check_parameters(context.request, lenient=parse_preferences(context.request).lenient)
    return context.begin_audit("operation", operation)


def _check_reader(connection: Connection, context: RequestContext, patient: str) -> None:
    requester = context.access.requester
    if requester.role in ("clinician", "steward"):
        return
    if requester.role == "patient" and requester.patient == patient:
        return
    if requester.role == "carer" and any(
        row["patient"] == patient and row["can_view"]
        for row in carers.list_represented_patients(connection, context)
    ):
        return
    raise NotFound(NO_PATIENT)


def _domain(connection: Connection, record: str) -> str:
    kind, _, identity = record.partition("/")
    row = connection.execute(
        "SELECT domain FROM resource WHERE type = ? AND id = ? AND current = 1", (kind, identity)
    ).fetchone()
    return str(row[0]) if row else "other"


def _listed(name: str, found: Sequence[AccessRequest]) -> list[dict[str, Any]]:
    return [{"name": name, "part": build_request_parts(one)} for one in found]


def _until(given: OperationParameters) -> int:
    """Return the end of a term: a date holds until its own end."""
    return date_interval(given.text("until"))[1]
