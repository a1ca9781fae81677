"""`$accept-invitation`: a carer takes up an invitation by its code."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import invitations
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="accept-invitation",
    summary="Let a carer take up an invitation by its code.",
    levels=("system",),
    affects_state=True,
    callers="a carer",
    parameters=(Parameter("code", "string", "The code that was handed over", 1),),
)


def answer(call: OperationCall) -> Response:
    """Give the carer the power; the typed reason of the inviter is not told."""
    power = invitations.accept_invitation(call.context, call.parse_body().text("code"))
    return call.respond(*build_request_parts(power, reason=False))
