"""Which IP addresses are of the internet at large: what strangers name is asked of no other."""

from __future__ import annotations

import ipaddress

__all__ = ["is_public"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Prefixes whose addresses lead to the IPv4 address in their last bits (RFC 6052, RFC 8215).
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")


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
