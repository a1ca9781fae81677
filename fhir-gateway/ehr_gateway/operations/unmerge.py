"""`Patient/$unmerge`: a steward proposes that a merge of two Patients is taken back."""

from __future__ import annotations

import orjson
from fastapi.responses import Response

from ehr_gateway.access_requests.merge_requests import propose_unmerge
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.operations._merge_parts import merge_task
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="unmerge",
    summary="Propose that a merge of two Patients is taken back.",
    levels=("type",),
    resource_types=("Patient",),
    affects_state=True,
    callers="a steward; another one decides (`$decide-merge`)",
    parameters=(
        Parameter("merge", "id", "The merge, as `$merges` lists it", 1),
        Parameter("reason", "string", "Why the two are not one person's", 1),
    ),
)


def answer(call: OperationCall) -> Response:
    """Answer 202 with the Task of whoever decides."""
    sent = call.parse_body()
    request = propose_unmerge(call.context, sent.text("merge"), call.parse_reason(sent))
    body = {
        "resourceType": "Parameters",
        "parameter": [{"name": "task", "resource": merge_task(request)}],
    }
    return fhir_response(orjson.dumps(body), 202, pretty=call.preferences.pretty)
