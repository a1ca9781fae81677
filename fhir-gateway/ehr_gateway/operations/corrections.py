"""`$corrections`: requests for corrections, their answers, and the patient's statements."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_gateway.access_requests.correction_requests import (
    CorrectionRequest,
    list_organization_corrections,
    list_patient_corrections,
    list_record_corrections,
)
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation

OPERATION = Operation(
    name="corrections",
    summary="List requests for corrections: a patient's, an organisation's, or a record's.",
    levels=("system", "instance"),
    resource_types=(ANY_TYPE,),
    affects_state=False,
    callers="the patient, who decides for them, the clinicians asked, a steward; of a record, "
    "whoever reads it",
)


def answer(call: OperationCall) -> Response:
    """List the requests, newest first; each patient sees that theirs was shown."""
    access = call.context.access
    with call.context.gateway.store.read_transaction() as connection:
        if not call.resource_type:
            requests = list_organization_corrections(connection, access)
        elif call.resource_type == "Patient":
            requests = list_patient_corrections(connection, access, call.logical_id)
        else:
            requests = list_record_corrections(
                connection, access, call.resource_type, call.logical_id
            )
    for patient in sorted({request.request.patient for request in requests}) or (None,):
        records = [request.record for request in requests if request.request.patient == patient]
        call.record(patient, entities=dict.fromkeys(records))
    return call.respond(*({"name": "correction", "part": _parts(request)} for request in requests))


def _parts(correction: CorrectionRequest) -> list[dict[str, Any]]:
    request = correction.request
    values = {
        "id": request.id,
        "state": request.state,
        "patient": request.patient,
        "record": correction.record,
        "organization": request.organization,
        "display": request.display,
        "text": request.reason,
        "answer": request.review_note,
        "answered-by": request.reviewer,
        "statement": request.details.get("statement"),
    }
    instants = {
        "asked": request.asked_ms,
        "due": request.expires_ms,
        "answered": request.decided_ms,
        "stated": request.details.get("statement_ms"),
        "changed": correction.changed_ms,
    }
    parts = [parameter(name, value) for name, value in values.items() if value]
    return parts + [
        {"name": name, "valueInstant": format_instant(at)} for name, at in instants.items() if at
    ]
