"""`$get-ws-binding-token`: a token that binds a WebSocket to the caller's subscriptions."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Unprocessable
from ehr_gateway.operations._subscriptions import find_called
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.subscriptions.bindings import issue_binding
from ehr_gateway.subscriptions.rows import seal_owner
from ehr_gateway.subscriptions.served import owner_of
from ehr_gateway.subscriptions.socket import socket_address

OPERATION = Operation(
    name="get-ws-binding-token",
    summary="Return a token, for one use within a minute, that binds a WebSocket to subscriptions.",
    levels=("type", "instance"),
    resource_types=("Subscription",),
    standards={
        "Subscription": "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-get-ws-binding-token"
    },
    affects_state=True,
    input="either",
    callers="who made the subscriptions",
    parameters=(
        Parameter("id", "id", "A subscription; all that are of a websocket when nothing is said",
                  most="*", levels=("type",)),
    ),
    required_scope=None,
)  # fmt: skip
# Chosen: each is looked at with each change.
_MOST_BOUND = 100


def answer(call: OperationCall) -> Response:
    """Answer with the token, when it expires, and what it is for."""
    context = call.context
    with context.gateway.store.write_transaction() as connection:
        called = find_called(connection, call)
        found = [one for one in called if one.channel == "websocket" and one.is_live]
        if not found or (call.logical_id and len(found) < len(called)):
            raise Unprocessable("There is no live subscription of a websocket to bind to.")
        if len(found) > _MOST_BOUND:
            raise Unprocessable(f"A token binds to at most {_MOST_BOUND} subscriptions: name them.")
        names = [stored.id for stored in found]
        token, expires_ms = issue_binding(
            connection, seal_owner(owner_of(context)), names, context.access.now_ms
        )
    call.record(entities=[f"Subscription/{name}" for name in names])
    return call.respond(
        {"name": "token", "valueString": token},
        {"name": "expiration", "valueDateTime": format_instant(expires_ms)},
        *({"name": "subscription", "valueString": name} for name in names),
        {"name": "websocket-url", "valueUrl": socket_address(context.gateway.settings)},
    )
