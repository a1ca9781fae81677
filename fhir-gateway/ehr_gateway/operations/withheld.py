"""`$withheld`: what a requester may learn of what is withheld from them."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Forbidden
from ehr_gateway.access_requests.markers import find_marker
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="withheld",
    summary="Say what the marker policy lets a requester learn of what is withheld.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=False,
    callers="a clinician, a program",
)


def answer(call: OperationCall) -> Response:
    """Answer with the marker, or with nothing where the policy hides it."""
    context = call.context
    if context.access.requester.role not in ("clinician", "system"):
        raise Forbidden("The marker is for those who treat.")
    call.record()
    if context.gateway.settings.limits.withheld_marker == "hide":
        return call.respond()
    with context.gateway.store.read_transaction() as connection:
        found = find_marker(connection, context.access, call.logical_id)
    return call.respond(
        parameter("shared", found.shared),
        parameter("hidden", found.hidden),
        *({"name": "domain", "valueCode": domain} for domain in found.domains),
    )
