"""From which addresses `$import` may fetch files: the hosts and networks that the settings name."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ehr_fhir.errors import Invalid
from ehr_gateway.public_addresses import is_public

__all__ = ["ImportSources", "parse_import_sources"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HOST = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}")
_PORTS = {"https": 443, "http": 80}
# IPv6 addresses that stand for IPv4 ones behind a translator (RFC 6052).
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class ImportSources:
    """Hosts, each with a port (0: the usual one of the scheme), and networks of private addresses.

    A name may lead anywhere, also to another address at the next look; so where it leads is checked
    too, at the moment of connecting.
    """

    hosts: frozenset[tuple[str, int]] = frozenset()
    networks: tuple[_Network, ...] = ()

    def check_url(self, url: str) -> SplitResult:
        """Return the parts of an address that may be fetched; raise Invalid for any other."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise Invalid("An address of a file cannot be read.") from error
        host = (parts.hostname or "").lower()
        if parts.scheme not in _PORTS or not host or parts.username or parts.password:
            raise Invalid("A file's address is an https address without user and password.")
        if any(character <= " " or character > "~" for character in url):
            raise Invalid("A file's address has characters that are to be percent-encoded.")
        usual = _PORTS[parts.scheme]
        known = {(host, port or usual)} | ({(host, 0)} if port in (None, usual) else set())
        if not known & self.hosts:
            raise Invalid("Files are fetched from the hosts that the setting import_hosts names.")
        if parts.scheme == "http" and not _is_loopback(host):
            raise Invalid("Files are fetched by https; by http from this machine alone.")
        return parts

    def permits(self, address: str) -> bool:
        """Say whether to connect to an IP address: a public one, or one of the networks.

        >>> sources = parse_import_sources("files.example.org, 10.1.0.0/16")
        >>> [sources.permits(ip) for ip in ("8.8.8.8", "10.1.2.3", "10.2.0.1", "::ffff:10.2.0.1")]
        [True, True, False, False]
        """
        found = _unwrap(ipaddress.ip_address(address))
        if any(found in network for network in self.networks):
            return True
        return is_public(found)


def parse_import_sources(text: str) -> ImportSources:
    """Parse hosts (`files.example.org`, `files.example.org:8443`) and networks, commas between.

    An IP address is a host, and the network of itself.
    """
    hosts: set[tuple[str, int]] = set()
    networks: list[_Network] = []
    for entry in filter(None, (word.strip().lower() for word in text.split(","))):
        try:
            if "/" in entry:
                networks.append(ipaddress.ip_network(entry))
                continue
            parts = urlsplit(f"//{entry}")
            host, port = parts.hostname or "", parts.port or 0
            if parts.netloc != entry or parts.username is not None:
                raise ValueError
            if _is_address(host):
                networks.append(ipaddress.ip_network(host))
            elif not _HOST.fullmatch(host):
                raise ValueError
            hosts.add((host, port))
        except ValueError as error:
            raise Invalid(
                "import_hosts must be hosts such as files.example.org or files.example.org:8443, "
                "and networks such as 10.1.0.0/16, with commas between."
            ) from error
    return ImportSources(frozenset(hosts), tuple(networks))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _unwrap(address: _Address) -> _Address:
    """Return the IPv4 address for which an IPv6 one stands."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
