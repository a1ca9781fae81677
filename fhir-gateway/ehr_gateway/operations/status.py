"""`$status`: the state of subscriptions, and how many events there were."""

from __future__ import annotations

from contextlib import suppress

import orjson
from fastapi.responses import Response

from ehr_fhir.errors import Unavailable
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.operations._subscriptions import find_called
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.subscriptions.authority import AuthorityEnded, access_of
from ehr_gateway.subscriptions.events import has_waiting, number_waiting
from ehr_gateway.subscriptions.notification import build_status

OPERATION = Operation(
    name="status",
    summary="Return the state of the caller's subscriptions, and how many events there were.",
    levels=("type", "instance"),
    resource_types=("Subscription",),
    standards={
        "Subscription": "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-status"
    },
    returns="Bundle",
    affects_state=False,
    input="either",
    callers="who made the subscription",
    parameters=(
        Parameter("id", "id", "A subscription; all when nothing is said", most="*",
                  levels=("type",)),
        Parameter("status", "code", "Those in this state", most="*", levels=("type",)),
    ),
    required_scope=None,
)  # fmt: skip


def answer(call: OperationCall) -> Response:
    """Answer with a Bundle of one status for each subscription.

    Events that wait are judged and numbered first, so that they count.
    """
    gateway, now = call.context.gateway, call.context.access.now_ms
    with gateway.store.read_transaction() as connection:
        found = find_called(connection, call)
        waiting = {stored.id for stored in found if has_waiting(connection, stored)}
    if waiting:
        with gateway.store.write_transaction() as connection:
            found = find_called(connection, call)
            for place, stored in enumerate(found):
                if stored.id in waiting:
                    with suppress(AuthorityEnded, Unavailable):
                        access = access_of(gateway, connection, stored, now)
                        found[place] = number_waiting(connection, access, stored)
    base = gateway.settings.fhir_base
    call.record(entities=[f"Subscription/{stored.id}" for stored in found])
    entries = (
        build_entry(
            f"{base}/Subscription/{stored.id}/$status",
            orjson.dumps(build_status(stored, "query-status", base)),
            mode="match",
        )
        for stored in found
    )
    return fhir_response(build_bundle("searchset", entries), pretty=call.preferences.pretty)
