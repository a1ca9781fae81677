"""Whether an authenticated client may still act: approved, and not suspended."""

from __future__ import annotations

from ehr_gateway.gateway import Gateway
from ehr_gateway.http.oauth_errors import OAuthError
from ehr_gateway.oauth.clients import Client

__all__ = ["require_in_force"]


def require_in_force(gateway: Gateway, client: Client) -> None:
    """Raise OAuthError for a client that acts without a token and was refused or suspended."""
    if gateway.revocations.is_stale():
        gateway.revocations.reload()
    is_suspended = gateway.revocations.suspensions.is_suspended(
        person=client.id,
        organization=client.organization,
        client=client.id,
        now_ms=gateway.clock(),
    )
    if is_suspended or not client.is_approved:
        raise OAuthError("unauthorized_client", "The app is not approved, or is suspended.", 403)
