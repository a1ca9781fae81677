"""FHIR REST client with one person's bearer token: read, search, create, update, operations.

What is read side by side leaves as one batch (`read_queue`).

Every HTTP status from 400 becomes an error of `ehr_fhir.errors`; an expired or revoked token
becomes Unauthorized, which the pages answer with a new log-in.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
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
    Issue,
    NotFound,
    PreconditionFailed,
    TooCostly,
    TooMany,
    Unauthorized,
    Unavailable,
    Unprocessable,
)
from ehr_portal.gateway.read_queue import ReadQueue

# A FHIR resource as JSON: its shape is the standard's, so nothing narrower is true.
Resource = Mapping[str, Any]
# Search parameters by name; of several values all must hold (R4 §3.1.1.3, AND).
SearchParams = Mapping[str, str | Sequence[str]]

# Types, ids, interactions and operations below the base address.
_PATH = re.compile(r"/fhir(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9.$_*-]{1,128})*")
# Of a refusal without Retry-After; and the longest that a page waits for one. Chosen.
_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 5.0
# People wait for a page rather than see it fail (RFC 7240 §4.3). Chosen: 200 people who turn pages
# at once wait for less than this on two cores that do other work, too.
_PATIENCE = "wait=25"
# A Bundle does not reach the audit log.
_AUDIT_LOG = "AuditEvent"
_ERROR_BY_STATUS: dict[int, type[EhrError]] = {
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
class SearchResults:
    """One page of a searchset Bundle, or several pages joined."""

    matches: tuple[Resource, ...]
    # By reference, such as `Medication/1`: what `_include` brought along.
    included: Mapping[str, Resource]
    # None where the server did not count.
    total: int | None
    next_link: str | None


class GatewayClient:
    """Reads and writes FHIR with one person's token."""

    def __init__(self, client: httpx.AsyncClient, token: str, client_address: str = "") -> None:
        self._client = client
        self.token = token
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/fhir+json",
            "Prefer": _PATIENCE,
        }
        if client_address:
            # The audit log records where the person's browser is, not where the portal is.
            self._headers["X-Forwarded-For"] = client_address
        self._reads: ReadQueue[Resource] = ReadQueue(self._read_together)

    async def read(self, resource_type: str, resource_id: str) -> Resource:
        """Return one resource or raise NotFound."""
        return await self._read(f"/fhir/{resource_type}/{resource_id}")

    async def search(self, resource_type: str, params: SearchParams) -> SearchResults:
        """Return the first page of a search by GET."""
        query = httpx.QueryParams(dict(params))
        return _parse_search_results(await self._read(f"/fhir/{resource_type}?{query}"))

    async def search_by_post(self, resource_type: str, params: SearchParams) -> SearchResults:
        """Search by POST, so that no name or card number stands in an address or its logs."""
        path = f"/fhir/{resource_type}/_search"
        response = await self._send("POST", path, form=dict(params))
        return _parse_search_results(_parse_resource(response))

    async def search_all(
        self, resource_type: str, params: SearchParams, *, limit: int
    ) -> SearchResults:
        """Follow the next links of a search until it ends or has `limit` matches or more."""
        results = await self.search(resource_type, params)
        matches, included = list(results.matches), dict(results.included)
        while results.next_link and len(matches) < limit:
            results = await self.fetch_page(results.next_link)
            matches += results.matches
            included |= results.included
        return SearchResults(tuple(matches), included, results.total, results.next_link)

    async def fetch_page(self, link: str) -> SearchResults:
        """Return the page a next link leads to; only its path and query count, never its host."""
        parts = urlsplit(link)
        return _parse_search_results(await self._read(f"{parts.path}?{parts.query}"))

    async def create(self, resource: Resource, *, if_none_exist: str = "") -> Resource:
        """Create a resource and return it as stored.

        With the criteria of a search (`If-None-Exist`), what meets them already is returned
        instead: a form that is sent twice makes one record.
        """
        path = f"/fhir/{resource['resourceType']}"
        headers = {"If-None-Exist": if_none_exist} if if_none_exist else None
        return _parse_resource(await self._send("POST", path, body=resource, headers=headers))

    async def transact(self, entries: Iterable[Resource]) -> Resource:
        """Send a transaction Bundle, of which all or nothing is done; return its answer."""
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
        return _parse_resource(await self._send("POST", "/fhir", body=bundle))

    async def update(self, resource: Resource) -> Resource:
        """Replace a resource; raise PreconditionFailed if it changed since it was read."""
        path = f"/fhir/{resource['resourceType']}/{resource['id']}"
        headers = {"If-Match": f'W/"{resource["meta"]["versionId"]}"'}
        return _parse_resource(await self._send("PUT", path, body=resource, headers=headers))

    async def save(self, resource: Resource) -> Resource:
        """Replace a resource that is stored already, which has an id; create one that is not."""
        return await (self.update(resource) if "id" in resource else self.create(resource))

    async def invoke_by_get(self, path: str, **params: str) -> Resource:
        """Invoke an operation that changes nothing; return its Parameters."""
        return await self.invoke_by_query(path, list(params.items()))

    async def invoke_by_query(self, path: str, query: Iterable[tuple[str, str]]) -> Resource:
        """Invoke an operation that changes nothing, with parameters that may be repeated."""
        params = httpx.QueryParams(list(query))
        return await self._read(f"/fhir/{path}?{params}" if params else f"/fhir/{path}")

    async def invoke(self, path: str, parameters: Resource, language: str = "") -> Resource:
        """Invoke an operation by POST; return its Parameters.

        `language` is what the client prefers an operation to answer in.
        """
        headers = {"Accept-Language": language} if language else None
        response = await self._send("POST", f"/fhir/{path}", body=parameters, headers=headers)
        return _parse_resource(response)

    async def create_launch(self, patient: str, client_id: str) -> str:
        """Create an EHR launch of an app on a patient's record (SMART); return its handle."""
        request = self._client.build_request(
            "POST",
            "/oauth/launch",
            json={"patient": patient, "client_id": client_id, "need_patient_banner": True},
            headers={**self._headers, "Accept": "application/json"},
        )
        response = await self._answer(request)
        if response.status_code >= 400:
            raise _error_of(response.status_code, None)
        return str(response.json()["launch"])

    async def download(self, path: str, **params: str) -> tuple[bytes, str]:
        """Return the file that an operation answers with, and its media type."""
        query = httpx.QueryParams(params)
        response = await self._send("GET", f"/fhir/{path}?{query}", headers={"Accept": "*/*"})
        return response.content, response.headers.get("content-type", "application/octet-stream")

    async def read_as_written(self, address: str, language: str = "") -> bytes:
        """Return the JSON at an address below /fhir/ byte by byte: numbers keep their digits.

        `language` is what the client prefers an operation to answer in.
        """
        headers = {"Accept-Language": language} if language else None
        return (await self._send("GET", f"/fhir/{address}", headers=headers)).content

    async def _read(self, address: str) -> Resource:
        """Return what an address holds, together with what else is read in this moment."""
        _check_path(address)
        if address.startswith(f"/fhir/{_AUDIT_LOG}"):
            return _parse_resource(await self._send("GET", address))
        return await self._reads.read(address)

    async def _read_together(self, addresses: Sequence[str]) -> Sequence[Resource | Exception]:
        if len(addresses) == 1:
            return [_parse_resource(await self._send("GET", addresses[0]))]
        entries = [
            {"request": {"method": "GET", "url": address.removeprefix("/fhir/")}}
            for address in addresses
        ]
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        answer = _parse_resource(await self._send("POST", "/fhir", body=bundle, is_read=True))
        return [_parse_entry(entry) for entry in answer["entry"]]

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: Resource | None = None,
        form: SearchParams | None = None,
        headers: Mapping[str, str] | None = None,
        is_read: bool = False,
    ) -> httpx.Response:
        _check_path(path)
        all_headers = {**self._headers, **(headers or {})}
        content = None
        if body is not None:
            content = orjson.dumps(body)
            all_headers["Content-Type"] = "application/fhir+json"
            all_headers["Prefer"] = f"return=representation, {_PATIENCE}"
        request = self._client.build_request(
            method, path, data=form, content=content, headers=all_headers
        )
        response = await self._answer(request)
        if response.status_code == 503 and (is_read or method == "GET"):
            # Busy (RFC 9110 §15.6.4): to answer later is better than not at all.
            await asyncio.sleep(_retry_seconds(response))
            response = await self._answer(request)
        if response.status_code >= 400:
            raise _error_of(response.status_code, response.content)
        return response

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(request)
        except httpx.TransportError as error:
            raise Unavailable("The gateway does not answer.") from error


def bundle_entries(bundle: Resource) -> Iterable[Resource]:
    """Yield the entries of a Bundle that hold a resource."""
    return (entry for entry in bundle.get("entry", ()) if "resource" in entry)


def _parse_resource(response: httpx.Response) -> Resource:
    resource: Resource = orjson.loads(response.content)
    return resource


def _check_path(address: str) -> None:
    """Refuse an id that a browser sent and is none: it would lead to another address."""
    if not _PATH.fullmatch(address.partition("?")[0]):
        raise NotFound("There is nothing at this address.")


def _error_of(status: int, outcome: bytes | Resource | None) -> EhrError:
    """Return the error that a status is, with what an OperationOutcome says of it."""
    error_type = _ERROR_BY_STATUS.get(status, Fault)
    issues = _parse_issues(outcome)
    text = issues[0].diagnostics if issues else f"The gateway answered {status}."
    return error_type(text, issues=issues)


def _parse_issues(outcome: bytes | Resource | None) -> list[Issue]:
    if isinstance(outcome, bytes):
        try:
            outcome = orjson.loads(outcome)
        except orjson.JSONDecodeError:
            # Of a server in between.
            return []
    if not isinstance(outcome, Mapping) or outcome.get("resourceType") != "OperationOutcome":
        return []
    return [
        Issue(issue["diagnostics"], next(iter(issue.get("expression", ())), None))
        for issue in outcome.get("issue", ())
        if "diagnostics" in issue
    ]


def _retry_seconds(response: httpx.Response) -> float:
    """Return how long to wait before asking again, as a refusal says (RFC 9110 §10.2.3)."""
    header = response.headers.get("retry-after", "")
    # The gateway sends seconds; a date is for other servers.
    return min(float(header), _MAX_RETRY_SECONDS) if header.isdecimal() else _RETRY_SECONDS


def _parse_entry(entry: Resource) -> Resource | Exception:
    """Return what one entry of a batch was answered with, or the error that its status is."""
    status = int(entry["response"]["status"][:3])
    if status >= 400:
        return _error_of(status, entry["response"].get("outcome"))
    resource: Resource = entry["resource"]
    return resource


def _parse_search_results(bundle: Resource) -> SearchResults:
    matches, included = [], {}
    for entry in bundle_entries(bundle):
        resource = entry["resource"]
        # Bundle.entry.search.mode: an entry that does not say is a match.
        if entry.get("search", {}).get("mode", "match") == "match":
            matches.append(resource)
        elif resource["resourceType"] != "OperationOutcome":
            included[f"{resource['resourceType']}/{resource['id']}"] = resource
    links = {link["relation"]: link["url"] for link in bundle.get("link", ())}
    return SearchResults(tuple(matches), included, bundle.get("total"), links.get("next"))
