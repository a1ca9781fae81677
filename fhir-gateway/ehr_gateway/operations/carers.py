"""`$carers`: who may act for a patient, and who is invited to."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import carers
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="carers",
    summary="List a patient's carers and open invitations.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=False,
    callers="the patient, who decides for them, a steward",
)


def answer(call: OperationCall) -> Response:
    """List the powers."""
    with call.context.gateway.store.read_transaction() as connection:
        powers = carers.list_carers(connection, call.context, call.logical_id)
    call.record(call.logical_id)
    return call.respond(
        *({"name": "carer", "part": build_request_parts(power)} for power in powers)
    )
