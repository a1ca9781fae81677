"""The organisations whose names stand beside what they wrote, kept for a minute.

They are the platform's directory and say nothing about anybody. Pages that let a reader choose an
organisation read it anew (`fetch_providers`).
"""

from __future__ import annotations

from collections.abc import Callable

from ehr_portal.gateway.client import GatewayClient
from ehr_portal.record.providers import Provider
from ehr_portal.record.record import fetch_providers

__all__ = ["ProviderDirectory"]

# Chosen: a new organisation's name stands beside its records within a minute.
_FRESH_SECONDS = 60


class ProviderDirectory:
    """Every organisation by id, as a reader's token showed them last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._providers: dict[str, Provider] = {}
        self._read_at = float("-inf")

    async def load(self, gateway: GatewayClient) -> dict[str, Provider]:
        """Return the organisations, read with this reader's token once they are a minute old."""
        now = self._clock()
        if not 0 <= now - self._read_at < _FRESH_SECONDS:
            self._providers = await fetch_providers(gateway)
            self._read_at = now
        return self._providers
