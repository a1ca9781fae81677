"""`$end-health-link`: a link opens nothing any more."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.health_links.make_link import end_link
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="end-health-link",
    summary="End a SMART Health Link: it opens nothing any more.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=True,
    callers="the patient, a carer who sees the record and decides about it",
    parameters=(Parameter("link", "id", "The link, as `$health-links` lists it", 1),),
)


def answer(call: OperationCall) -> Response:
    """End the link at once."""
    end_link(call.context, call.logical_id, call.parse_body().text("link"))
    return call.respond(parameter("ended", True))
