"""Holds and carers over HTTP: operations under /fhir, each one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, NotFound
from ehr_fhir.intervals import date_interval
from ehr_gateway.access_requests import carers, holds
from ehr_gateway.access_requests.answers import parts_of
from ehr_gateway.access_requests.ledger import AccessRequest
from ehr_gateway.access_requests.people import NO_PATIENT, clinician
from ehr_gateway.audit_log import recorder
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import Authenticated, RequestContext, require_access_scope
from ehr_gateway.http.body import fhir_body
from ehr_gateway.http.negotiation import preferences
from ehr_gateway.http.operation_inputs import Inputs, inputs
from ehr_gateway.http.parameters import parameters, value
from ehr_gateway.http.query_string import no_parameters

router = APIRouter(prefix="/fhir", dependencies=[Depends(require_access_scope)])
Body = Annotated[bytes, Depends(fhir_body)]
_GET = ["GET", "HEAD"]


@router.post("/Patient/{patient}/$invite-carer")
def invite_carer(context: Authenticated, patient: str, body: Body) -> Response:
    """Let a patient invite a carer; the answer holds the code to hand over."""
    context.begin_audit("operation", "$invite-carer")
    given = inputs(body, "power", "domain", "until")
    made, code = carers.invite(
        context,
        patient,
        power=given.one_of("power", carers.POWERS),
        closed=given.domains(needed=False),
        until_ms=_until(given) if given.optional("until") else None,
    )
    return parameters(context, value("code", code), *parts_of(made))


@router.post("/Patient/{patient}/$record-substitute")
def record_substitute(context: Authenticated, patient: str, body: Body) -> Response:
    """Record who decides for a patient; the answer holds the code to hand over."""
    context.begin_audit("operation", "$record-substitute")
    given = inputs(body, "relation", "basis", "reason", "until")
    made, code = carers.record_substitute(
        context,
        patient,
        relation=given.one_of("relation", carers.RELATIONS),
        basis="minor" if given.one_of("basis", carers.BASES) == "minor" else "incapable",
        reason=given.reason(context.gateway.settings.limits.reason_length),
        until_ms=_until(given),
    )
    return parameters(context, value("code", code), *parts_of(made))


@router.post("/$accept-invitation")
def accept_invitation(context: Authenticated, body: Body) -> Response:
    """Let a carer take up an invitation by its code."""
    context.begin_audit("operation", "$accept-invitation")
    made = carers.accept(context, inputs(body, "code").text("code"))
    return parameters(context, *parts_of(made, reason=False))


@router.post("/$end-carer")
def end_carer(context: Authenticated, body: Body) -> Response:
    """End a carer's power, or take an invitation back."""
    context.begin_audit("operation", "$end-carer")
    carers.end(context, inputs(body, "carer").text("carer"))
    return parameters(context, value("ended", True))


@router.api_route("/Patient/{patient}/$carers", methods=_GET)
def list_carers(context: Authenticated, patient: str) -> Response:
    """List a patient's carers and open invitations."""
    audit_context = _begin(context, "$carers")
    with context.gateway.store.read_transaction() as connection:
        found = carers.carers(connection, context, patient)
    context.add_audit_entry(recorder.about(audit_context=audit_context, patient=patient))
    return parameters(context, *_listed("carer", found))


@router.api_route("/$acting-for", methods=_GET)
def acting_for(context: Authenticated) -> Response:
    """List whom a carer may act for now."""
    audit_context = _begin(context, "$acting-for")
    if context.access.requester.role != "carer":
        raise Forbidden("This is for carers.")
    with context.gateway.store.read_transaction() as connection:
        found = carers.acting_for(connection, context)
    context.add_audit_entry(recorder.about(audit_context=audit_context, patient=None))
    return parameters(
        context,
        *(
            {
                "name": "person",
                "part": [
                    value("patient", row["patient"]),
                    value("view", bool(row["can_view"])),
                    value("manage", bool(row["can_manage"])),
                ],
            }
            for row in found
        ),
    )


@router.post("/{resource_type}/{logical_id}/$hold")
def hold(context: Authenticated, resource_type: str, logical_id: str, body: Body) -> Response:
    """Keep a result from the patient until a date."""
    context.begin_audit("operation", "$hold")
    given = inputs(body, "reason", "until")
    made = holds.hold(
        context,
        clinician(context),
        resource_type,
        logical_id,
        reason=given.reason(context.gateway.settings.limits.reason_length),
        until_ms=_until(given),
    )
    return parameters(context, *parts_of(made))


@router.post("/$release-hold")
def release_hold(context: Authenticated, body: Body) -> Response:
    """End a hold early."""
    context.begin_audit("operation", "$release-hold")
    holds.release(context, inputs(body, "hold").text("hold"))
    return parameters(context, value("released", True))


@router.api_route("/Patient/{patient}/$held", methods=_GET)
def held(context: Authenticated, patient: str) -> Response:
    """List what is held back: what kind, who holds it, until when; the reason to its own place."""
    audit_context = _begin(context, "$held")
    with context.gateway.store.read_transaction() as connection:
        _check_reader(connection, context, patient)
        found = holds.stubs(connection, context, patient)
        kinds = {one.id: _domain(connection, str(one.details["record"])) for one in found}
    context.add_audit_entry(
        recorder.about(audit_context=audit_context, patient=patient if found else None)
    )
    if context.access.requester.role == "clinician":
        return parameters(context, *_listed("held", found))
    names = ("id", "organization", "until")
    listed = [
        {
            "name": "held",
            "part": [
                *(part for part in parts_of(one, reason=False) if part["name"] in names),
                value("type", str(one.details["record"]).partition("/")[0]),
                {"name": "domain", "valueCode": kinds[one.id]},
            ],
        }
        for one in found
    ]
    return parameters(context, *listed)


def _begin(context: RequestContext, operation: str) -> recorder.AuditContext:
    no_parameters(context.request, lenient=preferences(context.request).lenient)
    return context.begin_audit("operation", operation)


def _check_reader(connection: Connection, context: RequestContext, patient: str) -> None:
    requester = context.access.requester
    if requester.role in ("clinician", "steward"):
        return
    if requester.role == "patient" and requester.patient == patient:
        return
    if requester.role == "carer" and any(
        row["patient"] == patient and row["can_view"]
        for row in carers.acting_for(connection, context)
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
    return [{"name": name, "part": parts_of(one)} for one in found]


def _until(given: Inputs) -> int:
    """Return the end of a term: a date holds until its own end."""
    return date_interval(given.text("until"))[1]
