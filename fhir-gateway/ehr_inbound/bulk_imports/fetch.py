"""Fetch a file of an import from a host of the settings, within limits of size and time.

The address that a name leads to is checked where the connection is made, so that it cannot be
another one by then. Redirects are not followed. No error tells an address or what a host answered.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore

from ehr_fhir.errors import Unprocessable
from ehr_gateway.bulk_data.import_files import FileWriter
from ehr_gateway.import_sources import ImportSources

__all__ = ["fetch_file"]

# To connect, and for each piece. Chosen.
_IDLE_SECONDS = 30.0
_TIMEOUTS = {"connect": _IDLE_SECONDS, "read": _IDLE_SECONDS, "write": _IDLE_SECONDS}
_HEADERS: Mapping[bytes | str, bytes | str] = {
    "Accept": "application/fhir+ndjson, */*;q=0.5",
    "Accept-Encoding": "identity",
}


def fetch_file(
    url: str,
    writer: FileWriter,
    sources: ImportSources,
    *,
    until: float,
    certificates: ssl.SSLContext | None = None,
) -> None:
    """Fetch a file into a writer; raise Unprocessable with the reason if it cannot be had whole.

    `until` is the time of the monotonic clock by which it is to be there; `certificates` is for
    another list of authorities than the system's.
    """
    parts = sources.check_url(url)
    headers: Mapping[bytes | str, bytes | str] = {**_HEADERS, "Host": parts.netloc}
    try:
        with (
            httpcore.ConnectionPool(
                ssl_context=certificates, network_backend=_CheckedBackend(sources)
            ) as pool,
            pool.stream("GET", url, headers=headers, extensions={"timeout": _TIMEOUTS}) as answer,
        ):
            if 300 <= answer.status < 400:
                raise Unprocessable("The host sends on to another address, which is not followed.")
            if answer.status != 200:
                raise Unprocessable(f"The host answered {answer.status}.")
            for piece in answer.iter_stream():
                if time.monotonic() > until:
                    raise Unprocessable("The file came too slowly.")
                writer.write(piece)
    except httpcore.TimeoutException as error:
        raise Unprocessable("The host did not answer in time.") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as error:
        raise Unprocessable("The connection to the host failed, or broke.") from error


class _CheckedBackend(httpcore.SyncBackend):
    """Connects to addresses that the settings permit, and to no other."""

    def __init__(self, sources: ImportSources) -> None:
        self._sources = sources

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        # Any: as httpcore has it.
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Look a name up and connect to what it leads to, if every address is permitted."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unprocessable("The host is not known.") from error
        addresses = [str(one[4][0]) for one in found]
        if not all(self._sources.permits(address) for address in addresses):
            raise Unprocessable(
                "The host leads to a private address that import_hosts does not name."
            )
        return super().connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        # Any: as httpcore has it.
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Refuse: no address names a socket of this machine."""
        raise Unprocessable("Files are fetched by https.")
