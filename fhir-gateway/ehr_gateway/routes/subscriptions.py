"""Subscriptions over HTTP: create, read, update, delete and search, each of one's own alone."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from ehr_fhir.errors import Invalid, PreconditionFailed, TooCostly, TooMany
from ehr_fhir.json_text import parse, serialize
from ehr_gateway.audit_log import recorder
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext, read_bearer_token
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry, build_page_url
from ehr_gateway.http.negotiation import (
    GENERAL_PARAMETERS,
    Preferences,
    etag,
    fhir_response,
    http_date,
    parse_if_match,
    parse_preferences,
)
from ehr_gateway.http.query_string import check_parameters, describe_query, parse_query
from ehr_gateway.ids import uuid7
from ehr_gateway.subscriptions.authority import new_authority
from ehr_gateway.subscriptions.content import Wish, parse_subscription
from ehr_gateway.subscriptions.rows import (
    Authority,
    StoredSubscription,
    count_of_owner,
    insert_subscription,
    list_subscriptions,
    replace_subscription,
)
from ehr_gateway.subscriptions.rows import delete_subscription as delete_row
from ehr_gateway.subscriptions.served import find_own, owner_of, render_subscription
from ehr_gateway.subscriptions.services import services_of

__all__ = [
    "create_subscription",
    "delete_subscription",
    "read_subscription",
    "search_subscriptions",
    "search_subscriptions_by_form",
    "update_subscription",
]

_TYPE = "Subscription"
# Of one owner. Chosen: an organisation may have one for each of its patients; an app, which is of
# one patient, needs a few.
_MOST_OF_SYSTEM, _MOST_OF_APP = 20_000, 20
_MOST_BYTES = 64 * 1024
_DEFAULT_COUNT, _MOST_COUNT = 100, 1000
# Parameters of a search, and the element that each must equal.
_CRITERIA = ("_id", "criteria", "payload", "status", "type", "url")
Pairs = list[tuple[str, str]]


def create_subscription(context: RequestContext, body: bytes) -> Response:
    """Store a subscription to what is written from now on."""
    prefer = _begin(context, "create")
    identity = uuid7().hex
    wish = _read_wish(context, body)
    with context.gateway.store.write_transaction() as connection:
        authority = _authorize(context, connection, wish)
        most = _MOST_OF_APP if authority.subject.role == "patient" else _MOST_OF_SYSTEM
        if count_of_owner(connection, owner_of(context)) >= most:
            raise TooMany(f"There are {most} subscriptions of yours: delete those not needed.")
        services = services_of(context.request)
        insert_subscription(
            connection, services.secrets, identity, owner_of(context), authority, wish,
            context.access.now_ms,
        )  # fmt: skip
        stored = find_own(connection, context, identity)
    _record(context, stored)
    return _respond(context, prefer, stored, created=True, with_secret=True)


def read_subscription(context: RequestContext, logical_id: str) -> Response:
    """Read a subscription of one's own."""
    prefer = _begin(context, "read")
    with context.gateway.store.read_transaction(single_statement=True) as connection:
        stored = find_own(connection, context, logical_id)
    _record(context, stored)
    return _respond(context, prefer, stored)


def update_subscription(context: RequestContext, logical_id: str, body: bytes) -> Response:
    """Change what a subscription asks for, or start it again; its endpoint is verified anew."""
    prefer = _begin(context, "update")
    wish = _read_wish(context, body, logical_id)
    if_match = parse_if_match(context.request)
    with context.gateway.store.write_transaction() as connection:
        stored = find_own(connection, context, logical_id)
        if if_match is not None and if_match != stored.version:
            raise PreconditionFailed("The subscription has another version by now.")
        authority = _authorize(context, connection, wish)
        services = services_of(context.request)
        replace_subscription(
            connection, services.secrets, stored, authority, wish, context.access.now_ms
        )
        stored = find_own(connection, context, logical_id)
    _record(context, stored)
    return _respond(context, prefer, stored, with_secret=True)


def delete_subscription(context: RequestContext, logical_id: str) -> Response:
    """Delete a subscription with the events that wait for it."""
    prefer = _begin(context, "delete")
    with context.gateway.store.write_transaction() as connection:
        stored = find_own(connection, context, logical_id)
        delete_row(connection, stored.id)
    _record(context, stored)
    return fhir_response(b"", 204, pretty=prefer.pretty)


def search_subscriptions(context: RequestContext) -> Response:
    """Search one's own subscriptions, in the order of their ids."""
    return _answer_search(context, parse_query(context.request))


def search_subscriptions_by_form(context: RequestContext, body: Pairs) -> Response:
    """Search by a form."""
    pairs = [pair for pair in body if pair[0] not in GENERAL_PARAMETERS]
    return _answer_search(context, [*parse_query(context.request), *pairs])


def _answer_search(context: RequestContext, pairs: Pairs) -> Response:
    prefer = parse_preferences(context.request)
    audit_context = context.begin_audit("search-type", describe_query(_TYPE, pairs))
    context.access.require_scope("search", _TYPE)
    criteria, count, after = _parse_search(pairs)
    found: list[StoredSubscription] = []
    with context.gateway.store.read_transaction() as connection:
        while len(found) <= count:
            some = list_subscriptions(connection, owner_of(context), after, _MOST_COUNT)
            found += [stored for stored in some if _matches(stored, criteria)]
            if len(some) < _MOST_COUNT:
                break
            after = some[-1].id
    context.add_audit_entry(recorder.build_event_rows(audit_context, None))
    base = f"{context.gateway.settings.fhir_base}/{_TYPE}"
    shown = found[:count]
    links = [("self", build_page_url(base, pairs))]
    if len(found) > count and shown:
        rest = [pair for pair in pairs if pair[0] != "_cursor"]
        links.append(("next", build_page_url(base, [*rest, ("_cursor", shown[-1].id)])))
    secrets = services_of(context.request).secrets
    entries = (
        build_entry(
            f"{base}/{stored.id}", serialize(render_subscription(stored, secrets)), mode="match"
        )
        for stored in shown
    )
    return fhir_response(build_bundle("searchset", entries, links=links), pretty=prefer.pretty)


def _parse_search(pairs: Pairs) -> tuple[Pairs, int, str]:
    criteria: Pairs = []
    count, after = _DEFAULT_COUNT, ""
    for name, value in pairs:
        if name in _CRITERIA:
            criteria.append((name, value))
        elif name == "_cursor":
            after = value
        elif name == "_count" and value.isascii() and value.isdigit() and len(value) < 9:
            count = min(int(value), _MOST_COUNT)
        else:
            raise Invalid(
                f"Subscriptions are searched by {', '.join(_CRITERIA)}, with _count.",
            )
    return criteria, count, after


def _matches(stored: StoredSubscription, criteria: Pairs) -> bool:
    channel: dict[str, Any] = stored.resource["channel"]
    values = {
        "_id": stored.id,
        "criteria": stored.resource["criteria"],
        "payload": channel["payload"],
        "status": stored.state,
        "type": stored.channel,
        "url": channel.get("endpoint"),
    }
    return all(values[name] in value.split(",") for name, value in criteria)


def _begin(context: RequestContext, interaction: str) -> Preferences:
    """Begin the audit entry; check what the request asks, and that the token covers it."""
    context.begin_audit(interaction)
    prefer = parse_preferences(context.request)
    check_parameters(context.request, lenient=prefer.lenient)
    context.access.require_scope(interaction, _TYPE)
    return prefer


def _read_wish(context: RequestContext, body: bytes, identity: str | None = None) -> Wish:
    if len(body) > _MOST_BYTES:
        raise TooCostly(f"A Subscription has at most {_MOST_BYTES} bytes.")
    resource = parse(body)
    if not isinstance(resource, dict):
        raise Invalid("The content is no resource.")
    if identity is not None and resource.get("id") != identity:
        raise Invalid("The id of the content is not that of the address.", expression="id")
    services = services_of(context.request)
    wish = parse_subscription(resource, services.topics, services.policy)
    for kind, clauses in wish.filters.items():
        # Whoever is to be listened to finds who asked, as of a search.
        context.access.inquiry.name_criteria(kind, clauses, context.access.base)
    return wish


def _authorize(context: RequestContext, connection: Connection, wish: Wish) -> Authority:
    """Return the authority that the token gives; refuse one that may not read the events."""
    gateway = context.gateway
    token = gateway.verifier.verify(read_bearer_token(context.request), context.access.now_ms)
    authority = new_authority(gateway, connection, token)
    types = services_of(context.request).topics[wish.topic].resource_types
    # Whoever may only search was not given the records themselves. Of a topic's types that the
    # token does not cover nothing is told.
    covered = [kind for kind in types if context.access.covers("read", kind)]
    context.access.require_scope("read", *wish.filters, *(() if covered else types))
    return authority


def _record(context: RequestContext, stored: StoredSubscription) -> None:
    audit_context = context.begin_audit(_interaction_of(context))
    subject = stored.authority.subject
    patient = subject.patient if subject.role == "patient" else None
    context.add_audit_entry(
        recorder.build_event_rows(audit_context, patient, entities=[f"{_TYPE}/{stored.id}"])
    )


def _interaction_of(context: RequestContext) -> str:
    return {"POST": "create", "PUT": "update", "DELETE": "delete"}.get(
        context.request.method, "read"
    )


def _respond(
    context: RequestContext,
    prefer: Preferences,
    stored: StoredSubscription,
    *,
    created: bool = False,
    with_secret: bool = False,
) -> Response:
    headers = {"ETag": etag(stored.version), "Last-Modified": http_date(stored.updated_ms)}
    if created:
        base = context.gateway.settings.fhir_base
        headers["Location"] = f"{base}/{_TYPE}/{stored.id}/_history/{stored.version}"
    status = 201 if created else 200
    if prefer.returns == "minimal" and context.request.method != "GET":
        return fhir_response(b"", status, headers=headers)
    rendered = render_subscription(
        stored, services_of(context.request).secrets, with_secret=with_secret
    )
    return fhir_response(serialize(rendered), status, headers=headers, pretty=prefer.pretty)
