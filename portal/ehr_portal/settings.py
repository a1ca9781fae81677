"""What the portal is told at its start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True)
class PortalSettings:
    """Where the portal is reached and how long a log-in lasts."""

    # The public origin, without a slash at the end: the gateway's log-in sends people back to it.
    base_url: str
    # An SQLite file lets several worker processes share sessions; without it they live in memory.
    sessions: Path | None = None
    client_id: str = "portal"
    idle: timedelta = timedelta(minutes=30)
    absolute: timedelta = timedelta(hours=8)
    clock: Callable[[], float] = time.time

    @property
    def issuer(self) -> str:
        """Return the issuer of the authorization server, which is the gateway (RFC 9207)."""
        return f"{self.base_url}/oauth"

    @property
    def secure(self) -> bool:
        """Return whether cookies may demand HTTPS."""
        return self.base_url.startswith("https://")
