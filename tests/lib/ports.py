"""Ports of this machine for servers of tests."""

from __future__ import annotations

import random
import socket

# Below those that the kernel gives to outgoing connections (32768 and on, Linux; 49152, macOS).
PORTS = range(20_000, 32_000)
# One for each port that was given, until this process ends.
_reserved: list[socket.socket] = []


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has, and that no other run of tests will be given.

    A server binds it a moment later, so until then something else has to stand for it: the port of
    the same number of UDP, which no server of the tests uses.
    """
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        reserved = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            reserved.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                # As servers do: what closed connections leave behind keeps no port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            reserved.close()
            continue
        _reserved.append(reserved)
        return port
    raise OSError("every port is taken")
