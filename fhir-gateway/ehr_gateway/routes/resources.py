"""One resource over HTTP: read, vread, history, create, update, delete (R4 §3.1.0)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotFound
from ehr_fhir.intervals import instant
from ehr_fhir.patch import Patch
from ehr_gateway.body import fhir_body, patch_body
from ehr_gateway.bundle_bytes import bundle, entry, link
from ehr_gateway.caller import TheAsking
from ehr_gateway.interactions import create, delete, history, patch, read, update, vread
from ehr_gateway.negotiation import etag, fhir_response, if_match, preferences
from ehr_gateway.query_pairs import query_pairs
from ehr_gateway.routes.answers import (
    audited,
    disclose,
    known,
    start,
    start_write,
    version_response,
    written,
)
from ehr_gateway.store import Version

router = APIRouter(prefix="/fhir")
Body = Annotated[bytes, Depends(fhir_body)]
PatchBody = Annotated[Patch, Depends(patch_body)]
_GET = ["GET", "HEAD"]
_STATUS = {"POST": "201", "PUT": "200", "PATCH": "200", "DELETE": "204"}


@router.api_route("/{resource_type}/{logical_id}", methods=_GET)
def read_resource(asking: TheAsking, resource_type: str, logical_id: str) -> Response:
    """Read the current version."""
    prefer = start(asking, resource_type)
    occasion = asking.occasion("read")
    version = read.read(asking.gateway.store, asking.access, resource_type, logical_id)
    disclose(asking, occasion, [version])
    return version_response(asking, version, prefer)


@router.api_route("/{resource_type}/{logical_id}/_history/{version_id}", methods=_GET)
def vread_resource(
    asking: TheAsking, resource_type: str, logical_id: str, version_id: str
) -> Response:
    """Read one version."""
    prefer = start(asking, resource_type)
    occasion = asking.occasion("vread")
    number = _version_number(version_id)
    version = vread.vread(asking.gateway.store, asking.access, resource_type, logical_id, number)
    disclose(asking, occasion, [version])
    return version_response(asking, version, prefer)


@router.api_route("/{resource_type}/{logical_id}/_history", methods=_GET)
def history_of_resource(asking: TheAsking, resource_type: str, logical_id: str) -> Response:
    """List the versions of a resource, the newest first."""
    prefer = preferences(asking.request)
    known(resource_type)
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
    disclose(asking, occasion, [version for version, _ in page.versions])
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
    prefer = start_write(asking, resource_type)
    occasion = asking.occasion("create")
    criteria = asking.request.headers.get("if-none-exist")
    if criteria is None:
        version = create.create(
            asking.gateway.store, asking.access, resource_type, body, audit=audited(occasion)
        )
        return written(asking, version, prefer, created=True)
    result = create.create_if_none(
        asking.gateway.store,
        asking.access,
        resource_type,
        body,
        criteria.partition("?")[2] or criteria,
        audit=audited(occasion),
    )
    if not result.created:
        disclose(asking, asking.occasion("read"), [result.version])
    return written(asking, result.version, prefer, created=result.created)


@router.put("/{resource_type}/{logical_id}")
def update_resource(asking: TheAsking, resource_type: str, logical_id: str, body: Body) -> Response:
    """Write the next version, or the first one under the client's own id."""
    prefer = start_write(asking, resource_type)
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
    return written(asking, result.version, prefer, created=result.created)


@router.patch("/{resource_type}/{logical_id}")
def patch_resource(
    asking: TheAsking, resource_type: str, logical_id: str, changes: PatchBody
) -> Response:
    """Write the next version as a patch of the current one."""
    prefer = start_write(asking, resource_type)
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
    return written(asking, result.version, prefer, created=False)


@router.delete("/{resource_type}/{logical_id}")
def delete_resource(asking: TheAsking, resource_type: str, logical_id: str) -> Response:
    """Delete a resource; its history stays."""
    start_write(asking, resource_type)
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
