"""`$meta-add`: labels of a patient on an own record, or profiles and tags of whoever writes it."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.operations._own_labels import answer_label_change
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation, Parameter

OPERATION = Operation(
    name="meta-add",
    summary="Put labels on an own record, or profiles and tags on one that one may change.",
    levels=("instance",),
    resource_types=(ANY_TYPE,),
    standards={ANY_TYPE: "http://hl7.org/fhir/OperationDefinition/Resource-meta-add"},
    affects_state=True,
    callers="the patient; of profiles and tags whoever may patch the record",
    parameters=(Parameter("meta", "Meta", "The labels, as `security`; or `profile` and `tag`", 1),),
)


def answer(call: OperationCall) -> Response:
    """Add the labels."""
    return answer_label_change(call, "add")
