"""`$finding`: the elements at fault of one version, and what explains them; never the record."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests.quality_findings import find_finding, pick_elements
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._findings import build_finding_parts
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation

OPERATION = Operation(
    name="finding",
    summary="Show the elements of a version that break a rule of quality, and those beside them.",
    levels=("instance",),
    resource_types=(ANY_TYPE,),
    affects_state=False,
    callers="a steward; one of an organisation for what it wrote",
)


def answer(call: OperationCall) -> Response:
    """Show the elements; each of the patients sees in their log that a steward looked."""
    requester = call.context.access.requester
    record = f"{call.resource_type}/{call.logical_id}"
    with call.context.gateway.store.read_transaction() as connection:
        finding = find_finding(connection, requester, record)
        elements = pick_elements(connection, finding)
    for patient in finding.patients or (None,):
        call.record(patient, entities=[record])
    shown = [
        {
            "name": "element",
            "part": [
                parameter("path", element.path),
                *([] if element.value is None else [parameter("value", element.value)]),
            ],
        }
        for element in elements
    ]
    return call.respond(*build_finding_parts(finding), *shown)
