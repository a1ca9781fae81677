"""`$suspensions`: what is suspended, and what was."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests.role_checks import require_role
from ehr_gateway.operations._suspensions import (
    ROLES_READING_SUSPENSIONS,
    build_suspension_parts,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation
from ehr_gateway.tokens.suspensions import list_suspensions

OPERATION = Operation(
    name="suspensions",
    summary="List the suspensions, newest first, those that ended too.",
    levels=("system",),
    affects_state=False,
    callers="a steward, an auditor, an administrator",
    required_scope=None,
)
# Chosen: a suspension is rare, and older ones are in the audit log.
_MOST = 200


def answer(call: OperationCall) -> Response:
    """List them."""
    context = call.context
    require_role(context, ROLES_READING_SUSPENSIONS)
    with context.gateway.store.read_transaction() as connection:
        suspensions = list_suspensions(connection, _MOST)
    call.record(entities=[f"Basic/{suspension.id}" for suspension in suspensions])
    now = context.access.now_ms
    return call.respond(
        *(
            {"name": "suspension", "part": list(build_suspension_parts(suspension, now))}
            for suspension in suspensions
        )
    )
