"""What serves subscriptions in one process: topics, where may be sent to, secrets of channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request

from ehr_gateway.settings import GatewaySettings
from ehr_gateway.subscriptions.endpoints import EndpointPolicy
from ehr_gateway.subscriptions.secrets import ChannelSecrets
from ehr_gateway.subscriptions.topics import Topic, load_topics

__all__ = ["SubscriptionServices", "open_services", "services_of"]


@dataclass(frozen=True)
class SubscriptionServices:
    """Topics by URL, the policy of endpoints, the secrets."""

    topics: Mapping[str, Topic]
    policy: EndpointPolicy
    secrets: ChannelSecrets


def services_of(request: Request) -> SubscriptionServices:
    """Return what serves subscriptions in the application of a request."""
    services: SubscriptionServices = request.app.state.subscriptions.services
    return services


def open_services(settings: GatewaySettings, key: str) -> SubscriptionServices:
    """Return what the settings say; `key` is a secret of the folder of keys."""
    return SubscriptionServices(
        topics=load_topics(settings.subscription_topics),
        policy=EndpointPolicy(frozenset(settings.subscription_hosts)),
        secrets=ChannelSecrets(key),
    )
