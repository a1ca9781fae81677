"""`$held`: what is kept from a patient for a time, without what it says."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_gateway.access_requests import carers, holds
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.access_requests.role_checks import NO_PATIENT
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="held",
    summary="List what is held back: what kind, who holds it, until when.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=False,
    callers="the patient, their carers, a clinician, a steward",
)
# What a patient sees of a hold.
_STUB_PARTS = ("id", "organization", "until")


def answer(call: OperationCall) -> Response:
    """List the holds; their reasons for clinicians alone, who see those of their own place."""
    context, patient = call.context, call.logical_id
    with context.gateway.store.read_transaction() as connection:
        _check_reader(connection, context, patient)
        held = holds.list_hold_stubs(connection, context, patient)
        domains = {hold.id: _domain(connection, str(hold.details["record"])) for hold in held}
    call.record(patient if held else None)
    if context.access.requester.role == "clinician":
        return call.respond(*({"name": "held", "part": build_request_parts(hold)} for hold in held))
    return call.respond(
        *(
            {
                "name": "held",
                "part": [
                    *(
                        part
                        for part in build_request_parts(hold, reason=False)
                        if part["name"] in _STUB_PARTS
                    ),
                    parameter("type", str(hold.details["record"]).partition("/")[0]),
                    {"name": "domain", "valueCode": domains[hold.id]},
                ],
            }
            for hold in held
        )
    )


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
    resource_type, _, logical_id = record.partition("/")
    row = connection.execute(
        "SELECT domain FROM resource WHERE type = ? AND id = ? AND current = 1",
        (resource_type, logical_id),
    ).fetchone()
    return str(row[0]) if row else "other"
