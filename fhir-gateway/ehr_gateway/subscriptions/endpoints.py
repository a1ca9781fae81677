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

__all__ = ["EndpointPolicy", "EndpointRefused", "check_endpoint", "resolve_endpoint"]

_MAX_LENGTH = 2000
_PORTS = {"http": 80, "https": 443}
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Prefixes whose addresses lead to the IPv4 address in their last bits (RFC 6052, RFC 8215).
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")


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


def is_public(address: _Address) -> bool:
    """Say whether an address is one of the internet at large, also through IPv4 inside IPv6.

    >>> is_public(ipaddress.ip_address("9.9.9.9")), is_public(ipaddress.ip_address("10.0.0.1"))
    (True, False)
    >>> is_public(ipaddress.ip_address("::ffff:127.0.0.1"))
    False
    >>> is_public(ipaddress.ip_address("64:ff9b::a9fe:a9fe"))
    False
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and (address in _IPV4_COMPATIBLE or any(address in n for n in _NAT64)):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.teredo is not None:
            return False
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _parse_literal(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
