"""`$meta`: profiles, tags and security labels of a resource (R4 Resource-meta)."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.json_text import parse
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.interactions.read import read
from ehr_gateway.operations._meta_marks import shown_meta
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation

OPERATION = Operation(
    name="meta",
    summary="Return the profiles, tags and security labels that a resource bears.",
    levels=("instance",),
    resource_types=(ANY_TYPE,),
    standards={ANY_TYPE: "http://hl7.org/fhir/OperationDefinition/Resource-meta"},
    affects_state=False,
    callers="whoever may read the resource",
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with the Meta as a read would show it."""
    version = read(
        call.context.gateway.store, call.context.access, call.resource_type, call.logical_id
    )
    record_disclosure(call.context, call.audit_context, [version])
    return call.respond({"name": "return", "valueMeta": shown_meta(parse(version.body))})
