"""`$invite-carer`: a patient gives a carer a power over their record."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import invitations
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._terms import end_of_term
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="invite-carer",
    summary="Let a patient invite a carer; the answer holds the code to hand over.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=True,
    callers="the patient",
    parameters=(
        Parameter("power", "code", "`view`, `manage` or `both`", 1),
        Parameter("domain", "code", "A data domain that stays closed", 0, "*"),
        Parameter("until", "dateTime", "When the power ends; a date holds to its own end"),
    ),
)


def answer(call: OperationCall) -> Response:
    """Store the invitation; its code is told here and never again."""
    sent = call.parse_body()
    invitation, code = invitations.invite_carer(
        call.context,
        call.logical_id,
        power=sent.code("power", invitations.POWERS),
        closed_domains=sent.domains(needed=False),
        until_ms=end_of_term(sent) if sent.optional_text("until") else None,
    )
    return call.respond(parameter("code", code), *build_request_parts(invitation))
