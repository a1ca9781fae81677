"""Subscriptions of tests: resources, an endpoint on this machine, what it received."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ehr_gateway.oauth import clients
from tests.lib.gateway import House, Session, must

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
TOPICS = "https://ehr-commons.hk/fhir/SubscriptionTopic"


class Endpoint:
    """An endpoint that keeps what it is sent, and answers as it is told."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.status = 200
        self.received: list[tuple[dict[str, str], bytes]] = []

    @property
    def bundles(self) -> list[dict[str, Any]]:
        """The notifications, oldest first."""
        return [json.loads(body) for _, body in self.received]

    @property
    def events(self) -> list[tuple[int, str]]:
        """Number and focus of each event, oldest first."""
        return [event for bundle in self.bundles for event in events_of(bundle)]

    @property
    def types(self) -> list[str]:
        """The type of each notification."""
        return [status_of(bundle)["type"] for bundle in self.bundles]


@contextmanager
def open_endpoint() -> Iterator[Endpoint]:
    """Serve an endpoint on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            endpoint.received.append((headers, body))
            self.send_response(endpoint.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def subscription(
    topic: str,
    endpoint: str | None,
    *filters: str,
    content: str = "id-only",
    headers: Sequence[str] = (),
    **numbers: int,
) -> dict[str, Any]:
    """Return a Subscription; `numbers` are heartbeat_period, timeout and max_count."""
    channel: dict[str, Any] = {
        "type": "rest-hook" if endpoint else "websocket",
        "payload": "application/fhir+json",
        "_payload": {
            "extension": [{"url": f"{BACKPORT}/backport-payload-content", "valueCode": content}]
        },
    }
    if endpoint:
        channel["endpoint"] = endpoint
    if headers:
        channel["header"] = list(headers)
    if numbers:
        channel["extension"] = [
            {
                "url": f"{BACKPORT}/backport-{name.replace('_', '-')}",
                "valuePositiveInt" if name == "max_count" else "valueUnsignedInt": value,
            }
            for name, value in numbers.items()
        ]
    found: dict[str, Any] = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "Care",
        "criteria": f"{TOPICS}/{topic}",
        "channel": channel,
    }
    if filters:
        url = f"{BACKPORT}/backport-filter-criteria"
        found["_criteria"] = {"extension": [{"url": url, "valueString": one} for one in filters]}
    return found


def register_system(house: House, organization: str, scope: str = "system/*.cruds") -> Session:
    """Register the client of an organisation's system and return its session."""
    name = f"system-{organization}"
    client = clients.Client(name, name, scope=scope, organization=organization)
    clients.register_client(house.gateway.store, client, "secret")
    return house.system(organization, scope)


def subscribe(session: Session, body: dict[str, Any]) -> str:
    """Create a subscription; return its id."""
    return str(must(session.post("Subscription", body)).json()["id"])


def work(house: House) -> None:
    """Let the worker match and deliver once."""
    house.app.state.subscriptions.run_once()


def status_of(bundle: dict[str, Any]) -> dict[str, Any]:
    """Return the status parameters of a notification by their names."""
    parameters = bundle["entry"][0]["resource"]["parameter"]
    return {
        one["name"]: next(value for name, value in one.items() if name.startswith("value"))
        for one in parameters
        if one["name"] != "notification-event"
    }


def events_of(bundle: dict[str, Any]) -> list[tuple[int, str]]:
    """Return number and focus of each event of a notification."""
    found = []
    for one in bundle["entry"][0]["resource"]["parameter"]:
        if one["name"] == "notification-event":
            parts = {part["name"]: part for part in one["part"]}
            focus = parts.get("focus", {}).get("valueReference", {}).get("reference", "")
            found.append(
                (int(parts["event-number"]["valueString"]), "/".join(focus.split("/")[-2:]))
            )
    return found


def is_signed(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """Check a signature as Standard Webhooks says."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return headers["webhook-signature"] == f"v1,{digest}"
