"""`$end-carer`: a carer's power ends, or an invitation is taken back."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import carers
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="end-carer",
    summary="End a carer's power, or take an invitation back.",
    levels=("system",),
    affects_state=True,
    callers="the patient, the carer, a steward",
    parameters=(Parameter("carer", "id", "The power, as `$carers` lists it", 1),),
)


def answer(call: OperationCall) -> Response:
    """End the power at once."""
    carers.end_carer(call.context, call.parse_body().text("carer"))
    return call.respond(parameter("ended", True))
