"""`$lift-suspension`: let a suspended person, organisation or client in again."""

from __future__ import annotations

from dataclasses import replace

from fastapi.responses import Response

from ehr_fhir.errors import Conflict, NotFound
from ehr_gateway.access_requests.role_checks import require_role
from ehr_gateway.audit_log import recorder
from ehr_gateway.operations._suspensions import (
    ROLES_SUSPENDING,
    build_suspension_parts,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.tokens.suspensions import find_suspension, lift_suspension

OPERATION = Operation(
    name="lift-suspension",
    summary="Lift a suspension before its end.",
    levels=("system",),
    affects_state=True,
    callers="a steward, an administrator",
    parameters=(
        Parameter("suspension", "id", "Which one, as `$suspensions` lists it", 1),
        Parameter("reason", "string", "Why; kept with it", 1),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Lift it, and tell every process."""
    context, sent = call.context, call.parse_body()
    require_role(context, ROLES_SUSPENDING)
    suspension_id, reason = sent.text("suspension"), call.parse_reason(sent)
    subject, now = context.caller.subject, context.access.now_ms
    with context.gateway.store.write_transaction() as connection:
        suspension = find_suspension(connection, suspension_id)
        if suspension is None:
            raise NotFound("There is no such suspension.")
        # One whose end has come is over; to lift it would say that it held until now.
        if not suspension.is_in_force(now) or not lift_suspension(
            connection, suspension_id, login=subject.login, reason=reason, now_ms=now
        ):
            raise Conflict("This suspension is over.")
        rows = recorder.build_event_rows(
            call.audit_context,
            None,
            entities=[f"Basic/{suspension.id}"],
            reason=f"lifted {suspension.kind}",
        )
        recorder.record_rows(connection, rows)
    context.gateway.revocations.notify_processes()
    lifted = replace(suspension, lifted_ms=now, lifted_by=subject.login, lift_reason=reason)
    return call.respond(*build_suspension_parts(lifted, now))
