"""`$decide-app`: a steward approves an app and says to whom it is offered, or refuses it."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Invalid, NotFound
from ehr_gateway.access_requests.role_checks import require_role
from ehr_gateway.audit_log import recorder
from ehr_gateway.journal.redo_actions import append_redo_actions, build_client_replacement_redo
from ehr_gateway.oauth import clients, refresh_tokens
from ehr_gateway.operations._apps import LAUNCH_ROLES, ROLES_DECIDING
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="decide-app",
    summary="Approve an app and say to which roles it is offered, or refuse it.",
    levels=("system",),
    affects_state=True,
    callers="a steward",
    parameters=(
        Parameter("client", "string", "The app's id, as `$apps` tells it", 1),
        Parameter("decision", "code", "`approve` or `refuse`", 1),
        Parameter("role", "code", f"To whom it is offered: {', '.join(LAUNCH_ROLES)}", 0, "*"),
        Parameter("reason", "string", "Why; kept with it", 1),
    ),
)


def answer(call: OperationCall) -> Response:
    """Store the decision. What was issued to people who may not use it any more ends at once."""
    context, sent = call.context, call.parse_body()
    require_role(context, ROLES_DECIDING)
    gateway, now = context.gateway, context.access.now_ms
    identity = sent.text("client")
    approves = sent.code("decision", ("approve", "refuse")) == "approve"
    roles = _parse_roles(sent.texts("role", len(LAUNCH_ROLES)))
    if bool(roles) != approves:
        raise Invalid(
            "An app that is approved is offered to one role or more, one that is refused to none.",
            expression="role",
        )
    reason = call.parse_reason(sent)
    with gateway.store.write_transaction() as connection:
        client = clients.find_client_on(connection, identity)
        if client is None or not any(client.redirect_uris):
            raise NotFound("There is no such app.")
        if client.trusted:
            raise Conflict("The platform's own programs are not decided on.")
        approval = clients.APPROVED if approves else clients.REFUSED
        connection.execute(
            "UPDATE client SET approval = ?, launch_roles = ?, decided_ms = ?, decided_by = ?,"
            " decision_reason = ? WHERE id = ?",
            (approval, " ".join(roles), now, context.caller.subject.login, reason, identity),
        )
        # One that was offered to nobody was open to all for whom it was registered.
        is_narrower = not client.launch_roles or bool(set(client.launch_roles) - set(roles))
        is_closed_to_some = not approves or (client.is_approved and is_narrower)
        if is_closed_to_some:
            # Whoever may use it still logs in once more; nobody else keeps a token.
            refresh_tokens.end_families_of_client(connection, identity, now)
            gateway.revocations.revoke_in(connection, "client", identity, now)
        rows = recorder.build_event_rows(
            call.audit_context, None, entities=[f"Basic/app-{identity}"], reason=f"app {approval}"
        )
        recorder.record_rows(connection, rows)
        if is_closed_to_some:
            append_redo_actions(connection, [build_client_replacement_redo(connection, identity)])
    gateway.revocations.notify_processes()
    return call.respond({"name": "approval", "valueCode": approval})


def _parse_roles(values: Sequence[str]) -> tuple[str, ...]:
    if unknown := set(values) - set(LAUNCH_ROLES):
        raise Invalid(
            f"An app is offered to {', '.join(LAUNCH_ROLES)}; {len(unknown)} others were named.",
            expression="role",
        )
    return tuple(role for role in LAUNCH_ROLES if role in values)
