"""`$declare-emergency`: break-glass access to one record, for one person of one organisation."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Forbidden
from ehr_gateway.access_requests import emergency
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.access_requests.role_checks import require_clinician
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="declare-emergency",
    summary="Open a record in an emergency: for this person of this organisation alone.",
    levels=("type", "instance"),
    resource_types=("Patient",),
    affects_state=True,
    callers="a clinician",
    parameters=(
        Parameter("reason", "string", "What the emergency is; the steward reviews it", 1),
        Parameter(
            "hkid", "string", "The number of the person's card, where no id is known", 1,
            levels=("type",),
        ),
    ),
)  # fmt: skip


def answer(call: OperationCall) -> Response:
    """Open the record of the patient in the address, or of the person with this card number."""
    context, sent = call.context, call.parse_body()
    declarer = require_clinician(context)
    if context.access.requester.emergency_suspended:
        raise Forbidden("Emergency access is suspended on the whole platform.")
    reason = call.parse_reason(sent)
    patient = call.logical_id or emergency.find_patient_by_identity_number(
        context, declarer, sent.text("hkid")
    )
    return call.respond(
        *build_request_parts(emergency.declare_emergency(context, declarer, patient, reason))
    )
