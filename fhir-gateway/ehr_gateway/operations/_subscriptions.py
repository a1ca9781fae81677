"""What the operations on subscriptions share: which of the caller's they are about."""

from __future__ import annotations

from ehr_fhir.errors import Invalid, TooCostly
from ehr_gateway.database import Connection
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.subscriptions.rows import StoredSubscription, list_subscriptions
from ehr_gateway.subscriptions.served import find_own, owner_of

__all__ = ["find_called", "parse_event_number"]

# Chosen: they are read in one transaction, and answered in one Bundle that has no next page.
_MOST_ASKED = 1000


def find_called(connection: Connection, call: OperationCall) -> list[StoredSubscription]:
    """Return the caller's subscriptions that a call names by its address or by `id`, else all.

    Raises NotFound for one that is not the caller's, and TooCostly where there are more than one
    answer tells of.
    """
    call.context.access.require_scope("read", "Subscription")
    if call.logical_id:
        return [find_own(connection, call.context, call.logical_id)]
    pairs = call.plain_pairs()
    names = list(dict.fromkeys(value for name, value in pairs if name == "id"))
    states = {value for name, value in pairs if name == "status"}
    owner = owner_of(call.context)
    found = (
        [find_own(connection, call.context, name) for name in names[:_MOST_ASKED]]
        if names
        else list_subscriptions(connection, owner, most=_MOST_ASKED + 1)
    )
    if len(names or found) > _MOST_ASKED:
        raise TooCostly(
            f"One answer tells of at most {_MOST_ASKED} subscriptions: name those that are meant,"
            " by `id`."
        )
    return [stored for stored in found if not states or stored.state in states]


def parse_event_number(name: str, text: str) -> int:
    """Return the number of an event."""
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Invalid(f"{name} is the number of an event.")
    return int(text)
