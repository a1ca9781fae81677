"""`$access-reviews`: what a steward is to review, or reviewed."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, Invalid
from ehr_gateway.access_requests import review
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="access-reviews",
    summary="List what waits for the steward's review, or what was reviewed.",
    levels=("system",),
    affects_state=False,
    callers="a steward",
    parameters=(Parameter("state", "code", "`waiting` (when nothing is said) or `done`"),),
)


def answer(call: OperationCall) -> Response:
    """List the accesses; each patient sees that theirs was shown."""
    if call.context.access.requester.role != "steward":
        raise Forbidden("Only a steward reviews.")
    state = dict(call.query).get("state", "waiting")
    if state not in ("waiting", "done"):
        raise Invalid("The parameter state is waiting or done.")
    accesses = review.list_reviews(call.context.gateway.store, done=state == "done")
    for patient in {access.patient: None for access in accesses} or (None,):
        call.record(patient)
    return call.respond(
        *({"name": "access", "part": build_request_parts(access)} for access in accesses)
    )
