"""Where notifications may be sent: https at public addresses, or hosts that the operator names.

A name is resolved for each connection, every address of the answer is checked, and the connection
goes to an address that was checked: a name that changes its answer in between (DNS rebinding)
gains nothing. Redirects are not followed, and no proxy is used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ehr_fhir.errors import EhrError
from ehr_gateway.public_addresses import is_public

__all__ = ["EndpointPolicy", "EndpointRefused", "check_endpoint", "resolve_endpoint"]

_MAX_LENGTH = 2000
_PORTS = {"http": 80, "https": 443}
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class EndpointPolicy:
    """Hosts, each `name` or `name:port`, that may have private addresses and plain http."""

    allowed_hosts: frozenset[str] = frozenset()

    def allows(self, parts: SplitResult) -> bool:
        """Say whether the operator named the host."""
        host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS[parts.scheme]
        return bool({host, f"{host}:{port}"} & self.allowed_hosts)


class EndpointRefused(EhrError):
    """The endpoint has an address to which nothing is sent."""


def check_endpoint(address: str, policy: EndpointPolicy) -> str | None:
    """Return what is wrong with the address of an endpoint, before its name is resolved."""
    try:
        parts = urlsplit(address)
        host, has_port = parts.hostname, parts.port is None or parts.port > 0
    except ValueError:
        return "The endpoint cannot be read."
    is_plain = address.isascii() and address.isprintable() and " " not in address
    if not host or not has_port or not is_plain or len(address) > _MAX_LENGTH:
        return "The endpoint cannot be read."
    if "@" in parts.netloc or parts.fragment:
        return "The endpoint has no user and no fragment; put secrets into channel.header."
    if parts.scheme not in _PORTS:
        return "The endpoint is an https address."
    if policy.allows(parts):
        return None
    if parts.scheme != "https":
        return "The endpoint is an https address."
    literal = _parse_literal(host)
    if literal is not None and not is_public(literal):
        return "The endpoint is no public address."
    return None


async def resolve_endpoint(address: str, policy: EndpointPolicy) -> str:
    """Return an IP address of the endpoint's host to connect to.

    Raises EndpointRefused when one of its addresses is not public, OSError when there are none.
    """
    parts = urlsplit(address)
    if check_endpoint(address, policy) is not None:
        raise EndpointRefused("The endpoint is not allowed any more.")
    port = parts.port or _PORTS[parts.scheme]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not policy.allows(parts) and not all(map(is_public, addresses)):
        raise EndpointRefused("The endpoint's name leads to an address that is not public.")
    if not addresses:
        raise OSError("no address")
    return str(addresses[0])


def _parse_literal(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
