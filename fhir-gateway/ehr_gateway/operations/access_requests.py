"""`$access-requests`: a patient's requests for access, step-up and emergency."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.access_requests.request_rows import select_in_order
from ehr_gateway.access_requests.role_checks import require_decider
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="access-requests",
    summary="List a patient's requests: all for the patient, the own ones for a clinician.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=False,
    callers="the patient, who decides for them, the clinician who asked",
)


def answer(call: OperationCall) -> Response:
    """List the requests; `open` says which of them still wait for the patient."""
    context, patient = call.context, call.logical_id
    requester, now = context.access.requester, context.access.now_ms
    condition = "kind IN ('step-up', 'emergency') AND patient = :patient"
    values: dict[str, object] = {"patient": patient}
    with context.gateway.store.read_transaction() as connection:
        if requester.role == "clinician":
            condition += " AND person = :person AND organization = :organization"
            values |= {"person": requester.person, "organization": requester.organization}
        else:
            require_decider(connection, context.access, patient)
        found = select_in_order(connection, condition, values, "open")
    requests = sorted(found, key=lambda request: (request.asked_ms, request.id), reverse=True)
    call.record(patient if requests else None)
    return call.respond(
        *(
            {
                "name": "request",
                "part": [
                    *build_request_parts(request),
                    parameter("open", request.state == "proposed" and request.expires_ms > now),
                ],
            }
            for request in requests
        )
    )
