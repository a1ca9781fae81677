"""What a Subscription asks for: read from the resource by the backport's profile, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ehr_fhir.dates import date_interval
from ehr_fhir.errors import Invalid, Unprocessable
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.search.filters import Clause, UnknownParameter
from ehr_fhir.validation.validate import validate
from ehr_gateway.subscriptions.endpoints import EndpointPolicy, check_endpoint
from ehr_gateway.subscriptions.matching import parse_clauses
from ehr_gateway.subscriptions.topics import Topic

__all__ = ["BACKPORT", "CONTENT_LEVELS", "SECRET_EXTENSION", "Wish", "content_of"]
__all__ += ["parse_stored", "parse_subscription"]

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
# Holds the secret that signs notifications, in the answer to a create or an update alone.
SECRET_EXTENSION = f"{JURISDICTION.fhir_base}/StructureDefinition/subscription-secret"
_FILTER = f"{BACKPORT}/backport-filter-criteria"
_CONTENT = f"{BACKPORT}/backport-payload-content"
# By extension of the channel: its value's element, least and most. The bounds are chosen: a
# heartbeat costs a request each time, and a slow endpoint holds one of few places at work.
_CHANNEL_NUMBERS = {
    "heartbeat": (f"{BACKPORT}/backport-heartbeat-period", "valueUnsignedInt", 10, 31 * 86_400),
    "timeout": (f"{BACKPORT}/backport-timeout", "valueUnsignedInt", 1, 60),
    "most_events": (f"{BACKPORT}/backport-max-count", "valuePositiveInt", 1, 100),
}
CONTENT_LEVELS = ("empty", "id-only", "full-resource")
_PAYLOAD_TYPES = frozenset({"application/fhir+json", "application/json"})
# Chosen: more are one subscription for all, filtered by who receives it.
_MOST_FILTERS, _MOST_HEADERS, _MOST_HEADER_LENGTH = 10, 10, 2000
# What the platform itself says in a request, and what would change how it is read.
_OWN_HEADERS = frozenset(
    {"connection", "content-length", "content-type", "host", "te", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True)
class Wish:
    """What a valid Subscription asks for."""

    topic: str
    # By resource type: criteria that all must hold. A type without any is not narrowed.
    filters: Mapping[str, tuple[Clause, ...]]
    channel: Literal["rest-hook", "websocket"]
    endpoint: str | None
    headers: tuple[tuple[str, str], ...]
    content: Literal["empty", "id-only", "full-resource"]
    payload_type: str
    end_ms: int | None
    is_off: bool = False
    # Seconds; None sends no heartbeat.
    heartbeat: int | None = None
    timeout: int = 10
    most_events: int = 10
    # The resource to keep: without status, and without what the server adds.
    resource: Mapping[str, Any] = field(default_factory=dict)


def parse_subscription(
    resource: Mapping[str, Any], topics: Mapping[str, Topic], policy: EndpointPolicy
) -> Wish:
    """Return what a Subscription asks for.

    Raises Invalid for what is no Subscription of R4, Unprocessable with the element's path for what
    is not served.
    """
    validate(resource, "Subscription")
    channel = resource["channel"]
    topic = topics.get(resource.get("criteria", ""))
    if topic is None:
        raise _refusal(
            "Subscription.criteria",
            "criteria is the URL of a topic that is served here; the CapabilityStatement lists"
            " them.",
        )
    kind = channel.get("type")
    if kind not in ("rest-hook", "websocket"):
        raise _refusal("Subscription.channel.type", "Channels are rest-hook and websocket.")
    if resource.get("status") not in ("requested", "active", "off"):
        raise _refusal(
            "Subscription.status", "Send the status requested, or off; the server sets the others."
        )
    payload_type = channel.get("payload")
    if payload_type not in _PAYLOAD_TYPES:
        raise _refusal("Subscription.channel.payload", "The payload is application/fhir+json.")
    end = resource.get("end")
    return Wish(
        topic=topic.url,
        filters=_parse_filters(resource, topic),
        channel=kind,
        endpoint=_parse_endpoint(channel, policy),
        headers=_parse_headers(channel),
        content=_parse_content(channel),
        payload_type=payload_type,
        end_ms=None if end is None else int(date_interval(end)[0]),
        is_off=resource.get("status") == "off",
        resource=_strip(resource),
        **_parse_numbers(channel),
    )


def parse_stored(
    resource: Mapping[str, Any], topics: Mapping[str, Topic], policy: EndpointPolicy
) -> Wish:
    """Return what a stored Subscription asks for, which has no status of its own."""
    return parse_subscription({**resource, "status": "active"}, topics, policy)


def content_of(resource: Mapping[str, Any]) -> str:
    """Return how much of the records a stored Subscription is sent."""
    return str(_parse_content(resource["channel"]))


def _parse_filters(resource: Mapping[str, Any], topic: Topic) -> dict[str, tuple[Clause, ...]]:
    path = "Subscription.criteria.extension"
    extensions = resource.get("_criteria", {}).get("extension", [])
    if any(one["url"] != _FILTER for one in extensions):
        raise _refusal(path, "criteria takes the extension backport-filter-criteria alone.")
    if len(extensions) > _MOST_FILTERS:
        raise _refusal(path, f"There are at most {_MOST_FILTERS} filters.")
    filters: dict[str, tuple[Clause, ...]] = {}
    for place, one in enumerate(extensions):
        here = f"{path}[{place}]"
        kind, mark, criteria = str(one.get("valueString", "")).partition("?")
        if not mark or kind not in topic.resource_types:
            types = ", ".join(topic.resource_types)
            raise _refusal(here, f"A filter is `Type?criteria`, of the topic's types: {types}.")
        try:
            clauses = parse_clauses(kind, criteria)
        except UnknownParameter as error:
            raise _refusal(here, str(error)) from None
        except Invalid as error:
            raise _refusal(here, str(error)) from None
        known = topic.filters.get(kind, frozenset())
        if not clauses or any(clause.parameter.code not in known for clause in clauses):
            names = ", ".join(sorted(known)) or "nothing"
            raise _refusal(here, f"The topic's {kind} is filtered by {names}.")
        filters[kind] = (*filters.get(kind, ()), *clauses)
    return filters


def _parse_endpoint(channel: Mapping[str, Any], policy: EndpointPolicy) -> str | None:
    path, endpoint = "Subscription.channel.endpoint", channel.get("endpoint")
    if channel.get("type") == "websocket":
        if endpoint is not None:
            raise _refusal(path, "A websocket has no endpoint: the client connects.")
        if channel.get("header"):
            raise _refusal("Subscription.channel.header", "A websocket takes no headers.")
        return None
    if endpoint is None:
        raise _refusal(path, "A rest-hook needs an endpoint.")
    if problem := check_endpoint(endpoint, policy):
        raise _refusal(path, problem)
    return str(endpoint)


def _parse_headers(channel: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    path, found = "Subscription.channel.header", []
    sent = channel.get("header", [])
    if len(sent) > _MOST_HEADERS:
        raise _refusal(path, f"There are at most {_MOST_HEADERS} headers.")
    # An element may have an extension in place of a value.
    for line in (one or "" for one in sent):
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        is_token = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        is_plain = value.isascii() and value.isprintable() and len(line) <= _MOST_HEADER_LENGTH
        if not colon or not is_token or not is_plain:
            raise _refusal(path, "A header is `Name: value`, of printable ASCII.")
        if name.lower() in _OWN_HEADERS or name.lower().startswith("webhook-"):
            raise _refusal(path, f"The header {name} is the server's.")
        found.append((name, value))
    return tuple(found)


def _parse_content(channel: Mapping[str, Any]) -> Any:
    path = "Subscription.channel.payload.extension"
    extensions = channel.get("_payload", {}).get("extension", [])
    values = [one.get("valueCode") for one in extensions if one["url"] == _CONTENT]
    if len(extensions) != 1 or len(values) != 1 or values[0] not in CONTENT_LEVELS:
        raise _refusal(
            path,
            "The payload has the extension backport-payload-content, with empty, id-only or"
            " full-resource.",
        )
    return values[0]


def _parse_numbers(channel: Mapping[str, Any]) -> dict[str, int]:
    path, found = "Subscription.channel.extension", {}
    extensions = [one for one in channel.get("extension", []) if one["url"] != SECRET_EXTENSION]
    for name, (url, element, least, most) in _CHANNEL_NUMBERS.items():
        values = [one.get(element) for one in extensions if one["url"] == url]
        if not values:
            continue
        if len(values) > 1 or not isinstance(values[0], int) or not least <= values[0] <= most:
            title = url.rpartition("/")[2]
            raise _refusal(path, f"{title} is there once, {element} from {least} to {most}.")
        found[name] = int(values[0])
    known = {url for url, *_ in _CHANNEL_NUMBERS.values()}
    if any(one["url"] not in known for one in extensions):
        raise _refusal(
            path,
            "The channel takes backport-heartbeat-period, backport-timeout and backport-max-count.",
        )
    return found


def _strip(resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resource without what the server says itself, and without secrets."""
    kept = {
        name: value
        for name, value in resource.items()
        if name not in ("id", "meta", "status", "error", "text")
    }
    channel = {name: value for name, value in kept["channel"].items() if name != "header"}
    extensions = [one for one in channel.pop("extension", []) if one["url"] != SECRET_EXTENSION]
    kept["channel"] = {**channel, **({"extension": extensions} if extensions else {})}
    meta = {
        name: value
        for name, value in resource.get("meta", {}).items()
        if name not in ("versionId", "lastUpdated")
    }
    return {**({"meta": meta} if meta else {}), **kept}


def _refusal(path: str, text: str) -> Unprocessable:
    return Unprocessable(text, expression=path, issue_code="not-supported")
