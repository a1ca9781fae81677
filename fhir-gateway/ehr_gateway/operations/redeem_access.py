"""`$redeem-access`: a clinician ends a step-up with the patient's code or smart identity card."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import approvals
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.access_requests.role_checks import require_clinician
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="redeem-access",
    summary="Approve a request by the patient's code, or by the patient's smart ID at the desk.",
    levels=("system",),
    affects_state=True,
    callers="the clinician who asked",
    parameters=(
        Parameter("request", "id", "The request, as `$request-access` answered it", 1),
        Parameter("code", "string", "The code that the patient was sent"),
        Parameter("hkid", "string", "Without a code: the number of the patient's card"),
        Parameter("pin", "string", "Without a code: what the patient types at the desk"),
    ),
)


def answer(call: OperationCall) -> Response:
    """Make the Consent active for this person of this organisation."""
    context, sent = call.context, call.parse_body()
    asker, request_id = require_clinician(context), sent.text("request")
    code = sent.optional_text("code")
    if code is not None:
        request = approvals.approve_by_code(context, asker, request_id, code)
    else:
        hkid, pin = sent.text("hkid"), sent.text("pin")
        request = approvals.approve_by_eid(context, asker, request_id, hkid, pin)
    return call.respond(*build_request_parts(request))
