"""Bundles joined from stored bytes: no resource is parsed on its way out.

A Bundle has no id and no time of its own, so that nothing in it depends on what the requester may
not see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlencode

import orjson


def build_bundle(
    kind: str,
    entries: Iterable[bytes],
    *,
    total: int | None = None,
    links: Sequence[tuple[str, str]] = (),
    more: Mapping[str, object] | None = None,
) -> bytes:
    """Return the bytes of a Bundle of serialized entries, with more elements of its own.

    >>> build_bundle("searchset", [build_entry("http://e/1", b"{}", mode="match")], total=1)
    b'{"resourceType":"Bundle","type":"searchset","total":1,"entry":[{"fullUrl":"http://e/1",\
"resource":{},"search":{"mode":"match"}}]}'
    """
    head: dict[str, object] = {"resourceType": "Bundle", "type": kind, **(more or {})}
    if total is not None:
        head["total"] = total
    if links:
        head["link"] = [{"relation": relation, "url": url} for relation, url in links]
    body = b",".join(entries)
    # FHIR's JSON has no empty arrays.
    return orjson.dumps(head)[:-1] + (b',"entry":[' + body + b"]}" if body else b"}")


def build_entry(
    full_url: str | None,
    resource: bytes | None,
    *,
    mode: str | None = None,
    request: dict[str, str] | None = None,
    response: dict[str, object] | None = None,
) -> bytes:
    """Return the bytes of one entry around those of a resource."""
    parts = []
    if full_url is not None:
        parts.append(b'"fullUrl":' + orjson.dumps(full_url))
    if resource is not None:
        parts.append(b'"resource":' + resource)
    if mode is not None:
        parts.append(b'"search":' + orjson.dumps({"mode": mode}))
    if request is not None:
        parts.append(b'"request":' + orjson.dumps(request))
    if response is not None:
        parts.append(b'"response":' + orjson.dumps(response))
    return b"{" + b",".join(parts) + b"}"


def build_page_url(address: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Return the address of a page link, its parameters encoded in one way.

    >>> build_page_url("http://e/fhir/Patient", [("name", "a b"), ("_count", "2")])
    'http://e/fhir/Patient?name=a+b&_count=2'
    """
    return f"{address}?{urlencode(pairs)}" if pairs else address
