"""`Patient/$merge` (R5 Patient-merge): a steward proposes that two Patients are one person's."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, Invalid, Unprocessable
from ehr_fhir.references import local_target, relative_reference
from ehr_fhir.validation.validate import validate
from ehr_gateway.access_requests.merge_requests import plan_merge, propose_merge
from ehr_gateway.database import Connection
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.operation_parameters import OperationParameters
from ehr_gateway.operations._merge_parts import describe_patient, merge_outcome, merge_task
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.search.named_patients import find_patients_by_identifiers

_MOST_IDENTIFIERS = 10
_SOURCE, _TARGET = "source-patient", "target-patient"
OPERATION = Operation(
    name="merge",
    summary="Propose that two Patients are one person's, or see what that would change.",
    levels=("type",),
    resource_types=("Patient",),
    affects_state=True,
    callers="a steward; another one decides (`$decide-merge`)",
    parameters=(
        Parameter(_SOURCE, "Reference", "The Patient that is replaced"),
        Parameter(f"{_SOURCE}-identifier", "Identifier", "Identifiers that it has", most="*"),
        Parameter(_TARGET, "Reference", "The Patient that stays"),
        Parameter(f"{_TARGET}-identifier", "Identifier", "Identifiers that it has", most="*"),
        Parameter("result-patient", "Patient", "What the Patient that stays is to say afterwards"),
        Parameter("preview", "boolean", "Only say what would change"),
        Parameter("reason", "string", "Why: the papers that were seen. Needed but for a preview"),
    ),
)


def answer(call: OperationCall) -> Response:
    """Answer 200 with what would change, or 202 with the Task of whoever decides."""
    if call.context.access.requester.role != "steward":
        raise Forbidden("Only a steward merges Patients.")
    sent = call.parse_body()
    result = _read_result(sent)
    with call.context.gateway.store.read_transaction() as connection:
        source, target = (
            _find_patient(connection, call, sent, name) for name in (_SOURCE, _TARGET)
        )
        if sent.optional_boolean("preview"):
            plan = plan_merge(connection, call.context, source, target, result)
    if sent.optional_boolean("preview"):
        for patient in (source, target):
            call.record(patient, entities=[f"Patient/{patient}"])
        outcome = merge_outcome(plan, source, is_preview=True)
        return _respond(call, outcome, 200, describe_patient("result", target, plan.next_target))
    request, plan = propose_merge(call.context, source, target, result, call.parse_reason(sent))
    outcome = merge_outcome(plan, source, is_preview=False)
    return _respond(call, outcome, 202, {"name": "task", "resource": merge_task(request)})


def _respond(
    call: OperationCall, outcome: dict[str, Any], status: int, *more: dict[str, Any]
) -> Response:
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "input", "resource": orjson.loads(call.body)},
            {"name": "outcome", "resource": outcome},
            *more,
        ],
    }
    return fhir_response(orjson.dumps(body), status, pretty=call.preferences.pretty)


def _read_result(sent: OperationParameters) -> dict[str, Any] | None:
    results = sent.resources("result-patient", 1)
    if not results:
        return None
    validate(results[0], "Patient")
    return results[0]


def _find_patient(
    connection: Connection, call: OperationCall, sent: OperationParameters, name: str
) -> str:
    """Return the id of a Patient that is said by reference, by identifiers, or by both."""
    identifiers = sent.identifiers(f"{name}-identifier", _MOST_IDENTIFIERS)
    named = ""
    if sent.has(name):
        reference = relative_reference(sent.reference(name), call.context.access.base)
        target = local_target(reference)
        if target is None or target.type != "Patient":
            raise Unprocessable(f"{name} has to be a Patient of this server.", expression=name)
        named = target.id
        call.context.access.inquiry.name_target("Patient", named)
    if not identifiers:
        if not named:
            raise Invalid(f"Say {name}, or {name}-identifier.", expression=name)
        return named
    found = find_patients_by_identifiers(connection, identifiers)
    for patient in found:
        call.context.access.inquiry.name_target("Patient", patient)
    if len(found) != 1 or named not in ("", *found):
        raise Unprocessable(
            f"{name}-identifier does not name the one Patient that is meant.",
            expression=f"{name}-identifier",
        )
    return found[0]
