"""`$events`: the events of a subscription again, by their numbers."""

from __future__ import annotations

from contextlib import suppress

from fastapi.responses import Response

from ehr_fhir.errors import Invalid, Unavailable
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.operations._subscriptions import find_called, parse_event_number
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.subscriptions.authority import AuthorityEnded, access_of
from ehr_gateway.subscriptions.content import CONTENT_LEVELS, content_of
from ehr_gateway.subscriptions.events import has_waiting, judge_told, number_waiting
from ehr_gateway.subscriptions.notification import build_notification

OPERATION = Operation(
    name="events",
    summary="Return events of a subscription again, of records that its owner may see now.",
    levels=("instance",),
    resource_types=("Subscription",),
    standards={
        "Subscription": "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-events"
    },
    returns="Bundle",
    affects_state=False,
    input="either",
    callers="who made the subscription",
    parameters=(
        Parameter("eventsSinceNumber", "string", "The first event"),
        Parameter("eventsUntilNumber", "string", "The last event"),
        Parameter("content", "code", "`empty`, `id-only` or `full-resource`; the subscription's"
                  " own when nothing is said"),
    ),
    required_scope=None,
)  # fmt: skip


def answer(call: OperationCall) -> Response:
    """Answer with a notification Bundle; up to 1000 events, the oldest first."""
    gateway, access = call.context.gateway, call.context.access
    sent = dict(call.plain_pairs())
    content = sent.get("content")
    if content is not None and content not in CONTENT_LEVELS:
        raise Invalid(f"content is one of {', '.join(CONTENT_LEVELS)}.")
    since = parse_event_number("eventsSinceNumber", sent.get("eventsSinceNumber", "0"))
    until = sent.get("eventsUntilNumber")
    last = None if until is None else parse_event_number("eventsUntilNumber", until)
    with gateway.store.read_transaction() as connection:
        (stored,) = find_called(connection, call)
        is_waiting = has_waiting(connection, stored)
    if is_waiting:
        with gateway.store.write_transaction() as connection, suppress(AuthorityEnded, Unavailable):
            (stored,) = find_called(connection, call)
            authority = access_of(gateway, connection, stored, access.now_ms)
            stored = number_waiting(connection, authority, stored)
    with gateway.store.read_transaction() as connection:
        events = judge_told(connection, access, stored, since=since, until=last)
    record_disclosure(call.context, call.audit_context, [event.version for event in events])
    body = build_notification(
        stored,
        "query-event",
        gateway.settings.fhir_base,
        access.now_ms,
        events=events,
        content=content or content_of(stored.resource),
    )
    return fhir_response(body, pretty=call.preferences.pretty)
