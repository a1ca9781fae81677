"""`$acting-for`: whom a carer may act for."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Forbidden
from ehr_gateway.access_requests import carers
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="acting-for",
    summary="List whom a carer may act for now.",
    levels=("system",),
    affects_state=False,
    callers="a carer",
)


def answer(call: OperationCall) -> Response:
    """List the patients with the carer's powers over each."""
    if call.context.access.requester.role != "carer":
        raise Forbidden("This is for carers.")
    with call.context.gateway.store.read_transaction() as connection:
        rows = carers.list_represented_patients(connection, call.context)
    call.record()
    return call.respond(
        *(
            {
                "name": "person",
                "part": [
                    parameter("patient", row["patient"]),
                    parameter("view", bool(row["can_view"])),
                    parameter("manage", bool(row["can_manage"])),
                ],
            }
            for row in rows
        )
    )
