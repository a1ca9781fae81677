"""The gateway as one logged-in person sees it: FHIR over HTTP, and nothing else.

Every refusal becomes an error of `ehr_fhir.errors`; a token that no longer holds becomes
Unauthorized, which the pages answer with a new log-in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from ehr_fhir.errors import (
    Conflict,
    EhrError,
    Fault,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    PreconditionFailed,
    TooCostly,
    TooMany,
    Unauthorized,
    Unavailable,
    Unprocessable,
)

# A FHIR resource as JSON: its shape is the standard's, so nothing narrower is true.
Resource = Mapping[str, Any]

_ERRORS: dict[int, type[EhrError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    412: PreconditionFailed,
    413: TooCostly,
    422: Unprocessable,
    429: TooMany,
    503: Unavailable,
}


@dataclass(frozen=True)
class Found:
    """One page of a search."""

    matches: tuple[Resource, ...]
    included: Mapping[str, Resource]
    total: int | None
    next: str | None


class Gateway:
    """Reads and writes FHIR with one person's token."""

    def __init__(self, client: httpx.AsyncClient, token: str, address: str = "") -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/fhir+json"}
        if address:
            # Where the person's browser is, not where the portal is.
            self._headers["X-Forwarded-For"] = address

    async def read(self, resource_type: str, resource_id: str) -> Resource:
        """Return one resource or raise NotFound."""
        response = await self._send("GET", f"/fhir/{resource_type}/{resource_id}")
        return _body(response)

    async def search(self, resource_type: str, params: Mapping[str, str]) -> Found:
        """Return the first page of a search."""
        return _found(await self._send("GET", f"/fhir/{resource_type}", params=dict(params)))

    async def search_privately(self, resource_type: str, params: Mapping[str, str]) -> Found:
        """Search by POST, so that no name or card number stands in an address or its logs."""
        path = f"/fhir/{resource_type}/_search"
        return _found(await self._send("POST", path, form=dict(params)))

    async def search_all(
        self, resource_type: str, params: Mapping[str, str], *, limit: int
    ) -> Found:
        """Follow a search from page to page until `limit` matches are there."""
        page = await self.search(resource_type, params)
        matches, included = list(page.matches), dict(page.included)
        while page.next and len(matches) < limit:
            page = await self.follow(page.next)
            matches += page.matches
            included |= page.included
        return Found(tuple(matches), included, page.total, page.next)

    async def follow(self, link: str) -> Found:
        """Return the page a next link leads to; only the path counts, never another host."""
        parts = urlsplit(link)
        return _found(await self._send("GET", f"{parts.path}?{parts.query}"))

    async def create(self, resource: Resource) -> Resource:
        """Create a resource and return it as stored."""
        kind = resource["resourceType"]
        return _body(await self._send("POST", f"/fhir/{kind}", body=resource))

    async def update(self, resource: Resource) -> Resource:
        """Replace a resource, but only the version that was read."""
        path = f"/fhir/{resource['resourceType']}/{resource['id']}"
        match = f'W/"{resource["meta"]["versionId"]}"'
        return _body(await self._send("PUT", path, body=resource, headers={"If-Match": match}))

    async def ask(self, path: str, **params: str) -> Resource:
        """Call an operation that changes nothing; return its Parameters."""
        return _body(await self._send("GET", f"/fhir/{path}", params=params or None))

    async def call(self, path: str, body: Resource) -> Resource:
        """Call an operation with its Parameters; return its answer."""
        return _body(await self._send("POST", f"/fhir/{path}", body=body))

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Resource | None = None,
        form: dict[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        sent = {**self._headers, **(headers or {})}
        content = None
        if body is not None:
            content = orjson.dumps(body)
            sent["Content-Type"] = "application/fhir+json"
            sent["Prefer"] = "return=representation"
        try:
            response = await self._client.request(
                method, path, params=params, data=form, content=content, headers=sent
            )
        except httpx.TransportError as error:
            raise Unavailable("The gateway does not answer.") from error
        if response.status_code >= 400:
            kind = _ERRORS.get(response.status_code, Fault)
            raise kind(f"The gateway answered {response.status_code}.")
        return response


def bundle_entries(bundle: Resource) -> Iterable[Resource]:
    """Yield the entries of a Bundle that hold a resource."""
    return (entry for entry in bundle.get("entry", ()) if "resource" in entry)


def _body(response: httpx.Response) -> Resource:
    resource: Resource = orjson.loads(response.content)
    return resource


def _found(response: httpx.Response) -> Found:
    bundle = _body(response)
    matches, included = [], {}
    for entry in bundle_entries(bundle):
        resource = entry["resource"]
        if entry.get("search", {}).get("mode", "match") == "match":
            matches.append(resource)
        elif resource["resourceType"] != "OperationOutcome":
            included[f"{resource['resourceType']}/{resource['id']}"] = resource
    links = {link["relation"]: link["url"] for link in bundle.get("link", ())}
    return Found(tuple(matches), included, bundle.get("total"), links.get("next"))
