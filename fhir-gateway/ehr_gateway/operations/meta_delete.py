"""`$meta-delete`: takes back a patient's own labels, or profiles and tags of a record."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.operations._own_labels import answer_label_change
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation, Parameter

OPERATION = Operation(
    name="meta-delete",
    summary="Take back labels that one put on an own record, or profiles and tags of a record.",
    levels=("instance",),
    resource_types=(ANY_TYPE,),
    standards={ANY_TYPE: "http://hl7.org/fhir/OperationDefinition/Resource-meta-delete"},
    affects_state=True,
    callers="the patient; of profiles and tags whoever may patch the record",
    parameters=(Parameter("meta", "Meta", "The labels, as `security`; or `profile` and `tag`", 1),),
)


def answer(call: OperationCall) -> Response:
    """Take the labels back."""
    return answer_label_change(call, "withdraw")
