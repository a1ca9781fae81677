"""`$release-hold`: a held result is shown to the patient early."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import holds
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="release-hold",
    summary="End a hold early.",
    levels=("system",),
    affects_state=True,
    callers="a clinician of the organisation that holds it, a steward",
    parameters=(Parameter("hold", "id", "The hold, as `$held` lists it", 1),),
)


def answer(call: OperationCall) -> Response:
    """End the hold at once."""
    holds.release_hold(call.context, call.parse_body().text("hold"))
    return call.respond(parameter("released", True))
