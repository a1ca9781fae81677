"""The HTTP server of one process: uvicorn, with bounds on clients and on its own end."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from ehr_cli.server.protocol import BoundedProtocol, close_overdue, max_connections
from ehr_cli.settings import Settings

__all__ = ["HttpServer", "create_server"]

# After SIGTERM: how long requests under way may take, and how long the process may in all. Chosen:
# below the ten seconds after which Docker kills; systemd waits longer.
_GRACE_SECONDS, _END_SECONDS = 5, 7.5


class HttpServer(uvicorn.Server):
    """A uvicorn server that gives up on clients that stand still, and ends when it is told to."""

    def __init__(self, config: uvicorn.Config, on_beat: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_beat = on_beat
        self._is_ending = False

    async def on_tick(self, counter: int) -> bool:
        """Do what is due ten times a second; return whether to end."""
        self._on_beat()
        if counter % 10 == 0:
            close_overdue(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, gracefully for some seconds."""
        if not self._is_ending:
            self._is_ending = True
            begin_shutdown = getattr(self.config.app, "begin_shutdown", None)
            if begin_shutdown is not None:
                # Streams that never end would use up the grace that other requests have.
                begin_shutdown()
            threading.Thread(target=_end_for_certain, args=(sig,), daemon=True).start()
        super().handle_exit(sig, frame)


def create_server(
    app: Any, settings: Settings, on_beat: Callable[[], None] = lambda: None
) -> HttpServer:
    """Make the server of an application; `on_beat` is called while the event loop turns."""
    BoundedProtocol.max_connections = max_connections()
    return HttpServer(uvicorn.Config(app, **uvicorn_options(settings)), on_beat)


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options."""
    return {
        "host": settings.host,
        "port": settings.port,
        "http": BoundedProtocol,
        "log_level": "warning",
        "access_log": False,
        "timeout_graceful_shutdown": _GRACE_SECONDS,
        # From anybody else X-Forwarded-For counts for nothing.
        "forwarded_allow_ips": settings.trusted_proxies,
        # Our own names in headers; the server's name and version help only an attacker.
        "server_header": False,
        # The WebSockets of subscriptions: a client sends a token, and nothing long.
        "ws": "websockets-sansio",
        "ws_max_size": 4096,
        "ws_per_message_deflate": False,
    }


def _end_for_certain(sig: int) -> None:
    """End the process by the signal it was sent, whatever its threads still wait for."""
    time.sleep(_END_SECONDS)
    sys.stderr.write("Ended without waiting any longer for what was under way.\n")
    sys.stderr.flush()
    # As a shell reports a process that a signal has ended.
    os._exit(128 + sig)
