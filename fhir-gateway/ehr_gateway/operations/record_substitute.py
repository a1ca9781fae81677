"""`$record-substitute`: a clinician records who decides for a patient who cannot."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import invitations
from ehr_gateway.access_requests.request_parameters import build_request_parts
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._terms import end_of_term
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="record-substitute",
    summary="Record who decides for a patient; the answer holds the code to hand over.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=True,
    callers="a clinician, a steward",
    parameters=(
        Parameter("relation", "code", "What the substitute is to the patient", 1),
        Parameter("basis", "code", "`minor` or `incapable`", 1),
        Parameter("reason", "string", "Why, in words", 1),
        Parameter("until", "dateTime", "When it ends; a date holds to its own end", 1),
    ),
)


def answer(call: OperationCall) -> Response:
    """Store the invitation of the substitute; its code is told here and never again."""
    sent = call.parse_body()
    invitation, code = invitations.record_substitute(
        call.context,
        call.logical_id,
        relation=sent.code("relation", invitations.RELATIONS),
        basis="minor" if sent.code("basis", invitations.BASES) == "minor" else "incapable",
        reason=call.parse_reason(sent),
        until_ms=end_of_term(sent),
    )
    return call.respond(parameter("code", code), *build_request_parts(invitation))
