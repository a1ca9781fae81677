"""`$disconnect-app`: take back what the caller allowed an app."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_gateway.audit_log import recorder
from ehr_gateway.oauth.refresh_tokens import end_family, list_families
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="disconnect-app",
    summary="Take back what the caller allowed an app; its tokens end at once.",
    levels=("system",),
    affects_state=True,
    callers="a person, about their own permissions",
    parameters=(Parameter("app", "string", "The `id` that `$connected-apps` tells", 1),),
)


def answer(call: OperationCall) -> Response:
    """End the permission and all tokens that came of it, in every process."""
    context = call.context
    gateway, login, now = context.gateway, context.caller.subject.login, context.access.now_ms
    identity = call.parse_body().text("app")
    with gateway.store.write_transaction() as connection:
        families = list_families(connection, gateway.settings, login, now)
        if identity not in {family.id for family in families}:
            raise NotFound("There is no such permission of yours.")
        end_family(connection, identity, now)
        gateway.revocations.revoke_in(connection, "family", identity, now)
        recorder.record_rows(connection, recorder.build_event_rows(call.audit_context, None))
    gateway.revocations.notify_processes()
    return call.respond()
