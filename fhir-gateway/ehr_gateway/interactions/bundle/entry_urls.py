"""The url of a Bundle entry's request, in every form that clients send."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["relative_url"]


def relative_url(url: str, base: str) -> str:
    """Return an entry's url relative to the server's base (R4 §3.1.0.11.1).

    Clients also send it with a leading slash, and as an absolute address of this server. An address
    of another server is returned as it is.

    >>> relative_url("/Patient", "http://e/fhir"), relative_url("/fhir/Patient?a=b", "http://e/fhir")
    ('Patient', 'Patient?a=b')
    >>> relative_url("HTTP://E/fhir/Patient/1", "http://e/fhir"), relative_url("/", "http://e/fhir")
    ('Patient/1', '')
    >>> relative_url("http://elsewhere/fhir/Patient", "http://e/fhir")
    'http://elsewhere/fhir/Patient'
    """
    address, question, query = url.partition("?")
    if base and "://" in address:
        own = urlsplit(base)
        origin = f"{own.scheme}://{own.netloc}"
        # Scheme and host are the same in capitals (RFC 3986 §6.2.2.1), a path is not.
        if address[: len(origin)].lower() != origin.lower():
            return url
        address = address[len(origin) :]
        if address != own.path and not address.startswith(f"{own.path}/"):
            return url
    path = urlsplit(base).path
    if address == path or address.startswith(f"{path}/"):
        address = address.removeprefix(path)
    return address.strip("/") + question + query
