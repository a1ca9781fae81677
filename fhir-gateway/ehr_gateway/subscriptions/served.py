"""A Subscription as its owner reads it, and who an owner is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import NotFound
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.subscriptions.content import SECRET_EXTENSION
from ehr_gateway.subscriptions.notification import error_concept
from ehr_gateway.subscriptions.rows import StoredSubscription, find_subscription, seal_owner
from ehr_gateway.subscriptions.secrets import ChannelSecrets

__all__ = ["find_own", "owner_of", "render_subscription"]


def owner_of(context: RequestContext) -> Sequence[str | None]:
    """Return whose a subscription is: the client's, for one organisation or one patient."""
    subject = context.caller.subject
    return [subject.login, subject.client, subject.organization, subject.patient]


def find_own(connection: Connection, context: RequestContext, identity: str) -> StoredSubscription:
    """Return a subscription of the requester's; that of another is not there."""
    stored = find_subscription(connection, identity)
    if stored is None or stored.owner != seal_owner(owner_of(context)):
        raise NotFound("There is no such subscription of yours.")
    return stored


def render_subscription(
    stored: StoredSubscription, secrets: ChannelSecrets, *, with_secret: bool = False
) -> dict[str, Any]:
    """Return the resource; with the secret that signs notifications where it was just written."""
    content: Mapping[str, Any] = stored.resource
    channel = dict(content["channel"])
    if headers := secrets.unseal_headers(stored.sealed_headers):
        channel["header"] = [f"{name}: {value}" for name, value in headers]
    if with_secret and stored.channel == "rest-hook":
        secret = {"url": SECRET_EXTENSION, "valueString": secrets.signing_secret(stored.id)}
        channel["extension"] = [*channel.get("extension", ()), secret]
    error = {} if stored.error is None else {"error": error_concept(stored.error)["text"]}
    return {
        "resourceType": "Subscription",
        "id": stored.id,
        **{name: value for name, value in content.items() if name != "resourceType"},
        "meta": {
            **content.get("meta", {}),
            "versionId": str(stored.version),
            "lastUpdated": format_instant(stored.updated_ms),
        },
        "status": stored.state,
        **error,
        "channel": channel,
    }
