"""One resource over HTTP: read, vread, history, create, update, delete (R4 §3.1.0)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid, NotFound, Unsupported
from ehr_fhir.intervals import instant
from ehr_fhir.patch import Patch
from ehr_gateway import audit
from ehr_gateway.body import fhir_body, patch_body
from ehr_gateway.bundle_bytes import bundle, entry, link
from ehr_gateway.caller import Asking, TheAsking
from ehr_gateway.interactions import create, delete, history, patch, read, update, vread
from ehr_gateway.negotiation import (
    Preferences,
    etag,
    fhir_response,
    http_date,
    if_match,
    not_modified,
    preferences,
)
from ehr_gateway.query_pairs import no_parameters, query_pairs
from ehr_gateway.store import Version

router = APIRouter(prefix="/fhir")
Body = Annotated[bytes, Depends(fhir_body)]
PatchBody = Annotated[Patch, Depends(patch_body)]
_GET = ["GET", "HEAD"]
_STATUS = {"POST": "201", "PUT": "200", "PATCH": "200", "DELETE": "204"}


@router.api_route("/{resource_type}/{logical_id}", methods=_GET)
def read_resource(asking: TheAsking, resource_type: str, logical_id: str) -> Response:
    """Read the current version."""
    prefer = _start(asking, resource_type)
    occasion = asking.occasion("read")
    version = read.read(asking.gateway.store, asking.access, resource_type, logical_id)
    _disclose(asking, occasion, [version])
    return _version_response(asking, version, prefer)


@router.api_route("/{resource_type}/{logical_id}/_history/{version_id}", methods=_GET)
def vread_resource(
    asking: TheAsking, resource_type: str, logical_id: str, version_id: str
) -> Response:
    """Read one version."""
    prefer = _start(asking, resource_type)
    occasion = asking.occasion("vread")
    number = _version_number(version_id)
    version = vread.vread(asking.gateway.store, asking.access, resource_type, logical_id, number)
    _disclose(asking, occasion, [version])
    return _version_response(asking, version, prefer)


@router.api_route("/{resource_type}/{logical_id}/_history", methods=_GET)
def history_of_resource(asking: TheAsking, resource_type: str, logical_id: str) -> Response:
    """List the versions of a resource, the newest first."""
    prefer = preferences(asking.request)
    _known(resource_type)
    occasion = asking.occasion("history-instance")
    pairs = query_pairs(asking.request)
    count, cursor = _paging(pairs)
    page = history.history(
        asking.gateway.store,
        asking.access,
        resource_type,
        logical_id,
        count=count,
        cursor=cursor,
    )
    _disclose(asking, occasion, [version for version, _ in page.versions])
    address = f"{asking.gateway.settings.fhir_base}/{resource_type}/{logical_id}"
    links = [("self", link(f"{address}/_history", pairs))]
    if page.next_cursor is not None:
        rest = [pair for pair in pairs if pair[0] != "_cursor"]
        links.append(("next", link(f"{address}/_history", [*rest, ("_cursor", page.next_cursor)])))
    entries = (_history_entry(address, *one) for one in page.versions)
    body = bundle("history", entries, total=page.total, links=links)
    return fhir_response(body, pretty=prefer.pretty)


@router.post("/{resource_type}")
def create_resource(asking: TheAsking, resource_type: str, body: Body) -> Response:
    """Create a resource under an id of ours."""
    prefer = _start_write(asking, resource_type)
    occasion = asking.occasion("create")
    criteria = asking.request.headers.get("if-none-exist")
    if criteria is None:
        version = create.create(
            asking.gateway.store, asking.access, resource_type, body, audit=audited(occasion)
        )
        return _written(asking, version, prefer, created=True)
    result = create.create_if_none(
        asking.gateway.store,
        asking.access,
        resource_type,
        body,
        criteria.partition("?")[2] or criteria,
        audit=audited(occasion),
    )
    if not result.created:
        _disclose(asking, asking.occasion("read"), [result.version])
    return _written(asking, result.version, prefer, created=result.created)


@router.put("/{resource_type}/{logical_id}")
def update_resource(asking: TheAsking, resource_type: str, logical_id: str, body: Body) -> Response:
    """Write the next version, or the first one under the client's own id."""
    prefer = _start_write(asking, resource_type)
    occasion = asking.occasion("update")
    result = update.update(
        asking.gateway.store,
        asking.access,
        resource_type,
        logical_id,
        body,
        if_match=if_match(asking.request),
        audit=audited(occasion),
    )
    return _written(asking, result.version, prefer, created=result.created)


@router.patch("/{resource_type}/{logical_id}")
def patch_resource(
    asking: TheAsking, resource_type: str, logical_id: str, changes: PatchBody
) -> Response:
    """Write the next version as a patch of the current one."""
    prefer = _start_write(asking, resource_type)
    occasion = asking.occasion("patch")
    result = patch.patch(
        asking.gateway.store,
        asking.access,
        resource_type,
        logical_id,
        changes,
        if_match=if_match(asking.request),
        audit=audited(occasion),
    )
    return _written(asking, result.version, prefer, created=False)


@router.delete("/{resource_type}/{logical_id}")
def delete_resource(asking: TheAsking, resource_type: str, logical_id: str) -> Response:
    """Delete a resource; its history stays."""
    _start_write(asking, resource_type)
    occasion = asking.occasion("delete")
    version = delete.delete(
        asking.gateway.store,
        asking.access,
        resource_type,
        logical_id,
        if_match=if_match(asking.request),
        audit=audited(occasion),
    )
    return Response(status_code=204, headers={"ETag": etag(version.version)})


def _start(asking: Asking, resource_type: str) -> Preferences:
    prefer = preferences(asking.request)
    _known(resource_type)
    no_parameters(asking.request, lenient=prefer.lenient)
    return prefer


def _start_write(asking: Asking, resource_type: str) -> Preferences:
    if resource_type == "AuditEvent":
        raise Unsupported("The audit log is written by the server alone.")
    return _start(asking, resource_type)


def _known(resource_type: str) -> None:
    if resource_type not in definitions.resource_types():
        raise NotFound("The address names no resource type of FHIR R4.")


def _paging(pairs: list[tuple[str, str]]) -> tuple[int | None, str | None]:
    known = dict(pairs)
    if len(known) != len(pairs) or set(known) - {"_count", "_cursor"}:
        raise Invalid("A history takes _count and _cursor, each once.")
    count = known.get("_count")
    if count is not None and not (count.isascii() and count.isdigit() and len(count) < 10):
        raise Invalid("_count must be a whole number.")
    return None if count is None else int(count), known.get("_cursor")


def _version_number(text: str) -> int:
    # What cannot be a version of ours is not there; it is no malformed request (R4 §3.1.0.4).
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise NotFound("There is no such version.")
    return int(text)


def audited(
    occasion: audit.Occasion,
) -> Callable[[sqlite3.Connection, Sequence[Version]], None]:
    def hook(connection: sqlite3.Connection, versions: Sequence[Version]) -> None:
        audit.record_disclosure(connection, occasion, versions)

    return hook


def _disclose(asking: Asking, occasion: audit.Occasion, versions: Sequence[Version]) -> None:
    with asking.gateway.store.writing() as connection:
        audit.record_disclosure(connection, occasion, versions)


def _version_response(asking: Asking, version: Version, prefer: Preferences) -> Response:
    headers = _version_headers(version)
    if not_modified(asking.request, version.version, version.last_updated_ms):
        return Response(status_code=304, headers=headers)
    return fhir_response(version.body, headers=headers, pretty=prefer.pretty)


def _written(asking: Asking, version: Version, prefer: Preferences, *, created: bool) -> Response:
    headers = _version_headers(version)
    base = asking.gateway.settings.fhir_base
    if created:
        headers["Location"] = f"{base}/{version.type}/{version.id}/_history/{version.version}"
    status = 201 if created else 200
    if prefer.returns == "minimal":
        return fhir_response(b"", status, headers=headers)
    if prefer.returns == "OperationOutcome":
        body = orjson.dumps(_success(version))
        return fhir_response(body, status, headers=headers, pretty=prefer.pretty)
    return fhir_response(version.body, status, headers=headers, pretty=prefer.pretty)


def _success(version: Version) -> dict[str, object]:
    text = f"{version.type}/{version.id} is stored as version {version.version}."
    issue = {"severity": "information", "code": "informational", "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def _version_headers(version: Version) -> dict[str, str]:
    return {"ETag": etag(version.version), "Last-Modified": http_date(version.last_updated_ms)}


def _history_entry(address: str, version: Version, method: str) -> bytes:
    on_type = address.rpartition("/")[0]
    response: dict[str, object] = {
        "status": _STATUS[method] if version.version > 1 or method != "PUT" else "201",
        "etag": etag(version.version),
        "lastModified": instant(version.last_updated_ms),
    }
    target = on_type if method == "POST" else address
    request = {
        "method": method,
        "url": "/".join(target.split("/")[-1 if method == "POST" else -2 :]),
    }
    return entry(
        address,
        None if version.deleted else version.body,
        request=request,
        response=response,
    )
