"""`$suspend`: containment. Stop a person, an organisation, a client, or all emergency access."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.dates import datetime_interval
from ehr_fhir.errors import Conflict, Invalid, NotFound, Unprocessable
from ehr_gateway.access_requests.role_checks import require_role
from ehr_gateway.audit_log import recorder
from ehr_gateway.ids import new_id
from ehr_gateway.journal.redo_actions import append_redo_actions, build_suspension_redo
from ehr_gateway.operations._suspensions import (
    ROLES_SUSPENDING,
    build_suspension_parts,
    resolve_subject,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.tokens.suspensions import KINDS, Suspension, insert_suspension

OPERATION = Operation(
    name="suspend",
    summary="Suspend a person, an organisation, a client, or all emergency access, at once.",
    levels=("system",),
    affects_state=True,
    callers="a steward, an administrator",
    parameters=(
        Parameter("kind", "code", "`person`, `organization`, `client` or `emergency`", 1),
        Parameter("subject", "string", "A log-in, or the id of it; none with `emergency`"),
        Parameter("reason", "string", "Why; kept with it", 1),
        Parameter("until", "dateTime", "When it ends by itself; without it, when it is lifted"),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Store the suspension, and tell every process; it holds at the next request."""
    context, sent = call.context, call.parse_body()
    require_role(context, ROLES_SUSPENDING)
    now, caller = context.access.now_ms, context.caller
    kind = sent.code("kind", KINDS)
    named = sent.optional_text("subject") or ""
    if bool(named) == (kind == "emergency"):
        raise Invalid("Name who is meant; nobody for emergency access.", expression="subject")
    until = _parse_until(sent.optional_text("until"), now)
    reason = call.parse_reason(sent)
    with context.gateway.store.write_transaction() as connection:
        subject = resolve_subject(connection, kind, named)
        if subject is None:
            raise NotFound(f"There is no such {kind}.")
        own = {
            "person": caller.requester.person,
            "organization": caller.requester.organization,
            "client": caller.subject.client,
        }
        if kind in own and subject == own[kind]:
            raise Conflict("You would suspend yourself, and could not lift it.")
        suspension = Suspension(
            new_id(), kind, subject, reason, now, until, caller.subject.login,
            caller.subject.display,
        )  # fmt: skip
        insert_suspension(connection, suspension)
        rows = recorder.build_event_rows(
            call.audit_context,
            None,
            entities=[f"Basic/{suspension.id}"],
            reason=f"suspended {kind}",
        )
        recorder.record_rows(connection, rows)
        append_redo_actions(connection, [build_suspension_redo(connection, suspension.id)])
    context.gateway.revocations.notify_processes()
    return call.respond(*build_suspension_parts(suspension, now))


def _parse_until(text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    until = datetime_interval(text)[0]
    if until <= now_ms:
        raise Unprocessable("A suspension ends later than now.", expression="until")
    return until
