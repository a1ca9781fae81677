"""`$request-access`: step-up, by which a clinician asks the patient to open restricted domains."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import step_up
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.access_requests.role_checks import require_clinician
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="request-access",
    summary="Ask the patient to open restricted domains; the patient is sent a code.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=True,
    callers="a clinician",
    parameters=(
        Parameter("reason", "string", "Why, in words for the patient", 1),
        Parameter("domain", "code", "A data domain to open", 1, "*"),
        Parameter("hours", "integer", "For how long; the settings name the most", 1),
    ),
)


def answer(call: OperationCall) -> Response:
    """Put the request on the books, as a Consent in state `proposed`."""
    context, limits = call.context, call.context.gateway.settings.limits
    sent = call.parse_body()
    request = step_up.request_step_up(
        context,
        require_clinician(context),
        call.logical_id,
        reason=call.parse_reason(sent),
        domains=sent.domains(),
        hours=sent.integer("hours", 1, limits.step_up_hours),
    )
    return call.respond(*build_request_parts(request))
