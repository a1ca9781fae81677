"""`$meta-delete`: a patient takes back labels that they put on an own record."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.operations._own_labels import answer_label_change
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation, Parameter

OPERATION = Operation(
    name="meta-delete",
    summary="Take back sensitivity labels that one put on an own record; others stay.",
    levels=("instance",),
    resource_types=(ANY_TYPE,),
    standards={ANY_TYPE: "http://hl7.org/fhir/OperationDefinition/Resource-meta-delete"},
    affects_state=True,
    callers="the patient",
    parameters=(Parameter("meta", "Meta", "The labels, as `security`", 1),),
)


def answer(call: OperationCall) -> Response:
    """Take the labels back."""
    return answer_label_change(call, "withdraw")
