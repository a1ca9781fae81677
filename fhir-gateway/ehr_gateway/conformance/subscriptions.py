"""What the CapabilityStatement says of subscriptions: the topics, the profile, the WebSocket."""

from __future__ import annotations

from typing import Any

from ehr_gateway.operations.registry import type_capabilities
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.subscriptions.content import BACKPORT
from ehr_gateway.subscriptions.socket import socket_address
from ehr_gateway.subscriptions.topics import load_topics

__all__ = ["subscription_component", "websocket_extension"]

_WEBSOCKET = "http://hl7.org/fhir/StructureDefinition/capabilitystatement-websocket"
_TOPIC = f"{BACKPORT}/capabilitystatement-subscriptiontopic-canonical"


def subscription_component(settings: GatewaySettings) -> dict[str, Any]:
    """Return the component of the type Subscription, with the topics of the installation."""
    return {
        "type": "Subscription",
        "extension": [
            {"url": _TOPIC, "valueCanonical": url}
            for url in sorted(load_topics(settings.subscription_topics))
        ],
        "supportedProfile": [f"{BACKPORT}/backport-subscription"],
        "interaction": [
            {"code": code} for code in ("read", "update", "delete", "create", "search-type")
        ],
        "versioning": "versioned-update",
        "readHistory": False,
        "updateCreate": False,
        "searchParam": [
            {"name": "_id", "type": "token"},
            {"name": "criteria", "type": "string"},
            {"name": "payload", "type": "token"},
            {"name": "status", "type": "token"},
            {"name": "type", "type": "token"},
            {"name": "url", "type": "uri"},
        ],
        "operation": type_capabilities("Subscription", settings.fhir_base),
    }


def websocket_extension(settings: GatewaySettings) -> dict[str, str]:
    """Return where clients connect by WebSocket."""
    return {"url": _WEBSOCKET, "valueUri": socket_address(settings)}
