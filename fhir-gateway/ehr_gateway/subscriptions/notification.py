"""Notification Bundles and status resources, in R4's form of the backport (IG 1.1)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import orjson

from ehr_fhir.dates import format_instant
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry
from ehr_gateway.subscriptions.content import BACKPORT
from ehr_gateway.subscriptions.events import ToldEvent
from ehr_gateway.subscriptions.rows import StoredSubscription

__all__ = ["ERRORS", "NotificationType", "build_notification", "build_status", "error_concept"]

NotificationType = Literal[
    "handshake", "heartbeat", "event-notification", "query-status", "query-event"
]
_ERROR_SYSTEM = "http://terminology.hl7.org/CodeSystem/subscription-error"
# By our code: the code of that system, where it has one, and what it says to whoever reads it.
ERRORS = {
    "no-response": ("no-response", "The endpoint gave no answer in time."),
    "error-response": ("error-response", "The endpoint refused a notification."),
    "gone": ("error-response", "The endpoint said that it is gone (410)."),
    "given-up": ("no-response", "The endpoint took nothing for too long."),
    "ended": (None, "The subscription has come to its end."),
    "revoked": (None, "The permission behind the subscription has ended."),
    "suspended": (None, "The access was suspended. Send the subscription again."),
    "restored": (None, "The records were put back from a backup. Send the subscription again."),
    "topic": (None, "The topic or the endpoint is not served any more."),
}


def build_notification(
    stored: StoredSubscription,
    kind: NotificationType,
    base: str,
    now_ms: int,
    *,
    events: Sequence[ToldEvent] = (),
    content: str = "empty",
    last_number: int | None = None,
) -> bytes:
    """Return a Bundle of type history: the status, then the records where they are sent whole."""
    status = build_status(
        stored, kind, base, events=events, content=content, last_number=last_number
    )
    entries = [
        build_entry(
            f"urn:uuid:{uuid.uuid4()}",
            orjson.dumps(status),
            request={"method": "GET", "url": f"Subscription/{stored.id}/$status"},
            response={"status": "200"},
        )
    ]
    if content == "full-resource":
        entries += [_record_entry(event, base) for event in events]
    profile = f"{BACKPORT}/backport-subscription-notification-r4"
    return build_bundle(
        "history",
        entries,
        more={"meta": {"profile": [profile]}, "timestamp": format_instant(now_ms)},
    )


def build_status(
    stored: StoredSubscription,
    kind: NotificationType,
    base: str,
    *,
    events: Iterable[ToldEvent] = (),
    content: str = "id-only",
    last_number: int | None = None,
) -> dict[str, Any]:
    """Return a subscription's status as the Parameters that stand for it in R4."""
    count = stored.last_number if last_number is None else last_number
    parameters: list[dict[str, Any]] = [
        _part("subscription", "valueReference", {"reference": f"{base}/Subscription/{stored.id}"})
    ]
    if content != "empty":
        parameters.append(_part("topic", "valueCanonical", stored.resource["criteria"]))
    parameters += [
        _part("status", "valueCode", stored.state),
        _part("type", "valueCode", kind),
        _part("events-since-subscription-start", "valueString", str(count)),
        *(
            {"name": "notification-event", "part": _event_parts(event, base, content)}
            for event in events
        ),
    ]
    if stored.error is not None:
        parameters.append(_part("error", "valueCodeableConcept", error_concept(stored.error)))
    profile = f"{BACKPORT}/backport-subscription-status-r4"
    return {
        "resourceType": "Parameters",
        "meta": {"profile": [profile]},
        "parameter": parameters,
    }


def error_concept(error: str) -> dict[str, Any]:
    """Return an error of a subscription by our code."""
    code, text = ERRORS[error]
    return {**({"coding": [{"system": _ERROR_SYSTEM, "code": code}]} if code else {}), "text": text}


def _event_parts(event: ToldEvent, base: str, content: str) -> list[dict[str, Any]]:
    parts = [
        _part("event-number", "valueString", str(event.number)),
        _part("timestamp", "valueInstant", format_instant(event.at_ms)),
    ]
    if content != "empty":
        reference = f"{base}/{event.version.type}/{event.version.id}"
        parts.append(_part("focus", "valueReference", {"reference": reference}))
    return parts


def _record_entry(event: ToldEvent, base: str) -> bytes:
    version = event.version
    is_new = version.method == "POST"
    address = version.type if is_new else f"{version.type}/{version.id}"
    return build_entry(
        f"{base}/{version.type}/{version.id}",
        None if version.deleted else version.body,
        request={"method": "PUT" if version.method == "PATCH" else version.method, "url": address},
        response={
            "status": "204" if version.deleted else "201" if is_new else "200",
            "etag": f'W/"{version.version}"',
            "lastModified": format_instant(version.last_updated_ms),
        },
    )


def _part(name: str, element: str, value: object) -> dict[str, Any]:
    return {"name": name, element: value}
