"""Whether a TCP port can be bound."""

from __future__ import annotations

import socket


def is_port_free(host: str, number: int) -> bool:
    """Return whether nobody listens at the port; the probe is closed at once."""
    with socket.socket() as probe:
        # As the server will: a port whose last connections linger is free for it.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError:
            return False
    return True
