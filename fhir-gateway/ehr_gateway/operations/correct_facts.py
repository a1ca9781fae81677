"""`$correct-facts`: a steward corrects what a record is judged by."""

from __future__ import annotations

from typing import Literal, cast

from fastapi.responses import Response

from ehr_gateway.access_requests import record_corrections
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation, Parameter
from ehr_gateway.store.stored_facts import FactCorrection

OPERATION = Operation(
    name="correct-facts",
    summary="Correct a label, the domain, the episode or the date by which a record is judged.",
    levels=("instance",),
    resource_types=(ANY_TYPE,),
    affects_state=True,
    callers="a steward",
    parameters=(
        Parameter("fact", "code", "`label`, `domain`, `episode` or `date`", 1),
        Parameter("value", "string", "The label, domain, id of the Encounter, or day", 1),
        Parameter("action", "code", "`add`, `deny` or `withdraw` what a steward said", 1),
        Parameter("reason", "string", "On whose request, and why", 1),
    ),
)
_ACTIONS = ("add", "deny", "withdraw")


def answer(call: OperationCall) -> Response:
    """Correct the fact; the content stays as it is."""
    sent = call.parse_body()
    action = cast(Literal["add", "deny", "withdraw"], sent.code("action", _ACTIONS))
    correction = FactCorrection(
        sent.code("fact", record_corrections.FACT_KINDS), sent.text("value"), action, "steward"
    )
    reason = call.parse_reason(sent)
    record_corrections.correct_record_facts(
        call.context, call.resource_type, call.logical_id, correction, reason
    )
    return call.respond(parameter("corrected", True))
