"""What the operations on subscriptions share: which of the caller's they are about."""

from __future__ import annotations

from ehr_fhir.errors import Invalid
from ehr_gateway.database import Connection
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.subscriptions.rows import StoredSubscription, list_subscriptions
from ehr_gateway.subscriptions.served import find_own, owner_of

__all__ = ["find_called", "parse_event_number"]


def find_called(connection: Connection, call: OperationCall) -> list[StoredSubscription]:
    """Return the caller's subscriptions that a call names by its address or by `id`, else all.

    Raises NotFound for one that is not the caller's.
    """
    call.context.access.require_scope("read", "Subscription")
    if call.logical_id:
        return [find_own(connection, call.context, call.logical_id)]
    pairs = call.plain_pairs()
    names = [value for name, value in pairs if name == "id"]
    states = {value for name, value in pairs if name == "status"}
    owner = owner_of(call.context)
    found = (
        [find_own(connection, call.context, name) for name in dict.fromkeys(names)]
        if names
        else list_subscriptions(connection, owner)
    )
    return [stored for stored in found if not states or stored.state in states]


def parse_event_number(name: str, text: str) -> int:
    """Return the number of an event."""
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Invalid(f"{name} is the number of an event.")
    return int(text)
