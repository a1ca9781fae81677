"""What the portal is told at its start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

ChangeProbe = Callable[[int], tuple[int, frozenset[str] | None]]


@dataclass(frozen=True)
class LivePace:
    """How often a stream of live rows looks, in seconds. All chosen."""

    # Between two looks at the session, the probe and the server's end.
    tick: float = 1.0
    # Between two questions to the gateway, however much is written: each is an entry in the log.
    shortest: float = 10.0
    # After this the gateway is asked though nothing was written: rights end by time alone, too, and
    # somebody new may be on the list.
    longest: float = 300.0
    # The same where nothing says what was written.
    unprobed: float = 60.0
    # Between two comments that keep proxies from closing the connection.
    heartbeat: float = 15.0
    # A stream ends after this and is opened again by the browser.
    lifetime: float = 900.0


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
    # Takes a position of the gateway's feed; returns the newest, and the patients about whom
    # something was written in between, None for anybody. Without it lists that change by themselves
    # ask the gateway by time alone.
    probe_changes: ChangeProbe | None = None
    # The folder of open data, which is public; without it none is published.
    open_data: Path | None = None
    live_pace: LivePace = field(default_factory=LivePace)

    @property
    def issuer(self) -> str:
        """Return the issuer of the authorization server, which is the gateway (RFC 9207)."""
        return f"{self.base_url}/oauth"

    @property
    def fhir_base(self) -> str:
        """Return the base address of the FHIR service, by which an app is told where it is."""
        return f"{self.base_url}/fhir"

    @property
    def secure(self) -> bool:
        """Return whether cookies may demand HTTPS."""
        return self.base_url.startswith("https://")
