"""One resource over HTTP: read, vread, create, update, delete (R4 §3.1.0)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_fhir.patch.patch import Patch
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import Asking, TheAsking
from ehr_gateway.http.body import fhir_body, patch_body
from ehr_gateway.http.negotiation import if_match, only_new
from ehr_gateway.http.responses import (
    audited,
    deleted,
    disclose,
    start_read,
    start_write,
    version_response,
    written,
)
from ehr_gateway.interactions import create, delete, patch, read, update, vread
from ehr_gateway.transaction import event_loop_writer
from ehr_gateway.transaction.event_loop_writer import Job

router = APIRouter(prefix="/fhir")
Body = Annotated[bytes, Depends(fhir_body)]
PatchBody = Annotated[Patch, Depends(patch_body)]
_GET = ["GET", "HEAD"]


@router.api_route("/{resource_type}/{logical_id}", methods=_GET)
def read_resource(asking: TheAsking, resource_type: str, logical_id: str) -> Response:
    """Read the current version."""
    prefer, subset = start_read(asking, resource_type)
    occasion = asking.occasion("read")
    version = read.read(asking.gateway.store, asking.access, resource_type, logical_id)
    disclose(asking, occasion, [version])
    return version_response(asking, version, prefer, subset)


@router.api_route("/{resource_type}/{logical_id}/_history/{version_id}", methods=_GET)
def vread_resource(
    asking: TheAsking, resource_type: str, logical_id: str, version_id: str
) -> Response:
    """Read one version."""
    prefer, subset = start_read(asking, resource_type)
    occasion = asking.occasion("vread")
    number = _version_number(version_id)
    version = vread.vread(asking.gateway.store, asking.access, resource_type, logical_id, number)
    disclose(asking, occasion, [version])
    return version_response(asking, version, prefer, subset)


@router.post("/{resource_type}")
def create_resource(asking: TheAsking, resource_type: str, body: Body) -> Response:
    """Create a resource under an id of ours."""
    return event_loop_writer.written(asking.gateway.store, creating(asking, resource_type, body))


def creating(asking: Asking, resource_type: str, body: bytes) -> Job[Response]:
    """Begin a create; return what writes it and makes the answer."""
    prefer = start_write(asking, resource_type)
    occasion = asking.occasion("create")
    criteria = asking.request.headers.get("if-none-exist")
    if criteria is not None:
        criteria = criteria.partition("?")[2] or criteria
    job = create.creating(
        asking.gateway.store, asking.access, resource_type, body, criteria, audit=audited(occasion)
    )

    def answered(connection: Connection) -> Response:
        result = job(connection)
        if not result.created:
            disclose(asking, asking.occasion("read"), [result.version])
        return written(asking, result.version, prefer, created=result.created)

    return answered


@router.put("/{resource_type}/{logical_id}")
def update_resource(asking: TheAsking, resource_type: str, logical_id: str, body: Body) -> Response:
    """Write the next version, or the first one under the client's own id."""
    return event_loop_writer.written(
        asking.gateway.store, updating(asking, resource_type, logical_id, body)
    )


def updating(asking: Asking, resource_type: str, logical_id: str, body: bytes) -> Job[Response]:
    """Begin an update; return what writes it and makes the answer."""
    prefer = start_write(asking, resource_type)
    occasion = asking.occasion("update")
    job = update.updating(
        asking.gateway.store,
        asking.access,
        resource_type,
        logical_id,
        body,
        if_match(asking.request),
        only_new=only_new(asking.request),
        audit=audited(occasion),
    )

    def answered(connection: Connection) -> Response:
        result = job(connection)
        return written(asking, result.version, prefer, created=result.created)

    return answered


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
    prefer = start_write(asking, resource_type)
    occasion = asking.occasion("delete")
    version = delete.delete(
        asking.gateway.store,
        asking.access,
        resource_type,
        logical_id,
        if_match=if_match(asking.request),
        audit=audited(occasion),
    )
    return deleted(version, prefer)


def _version_number(text: str) -> int:
    # What cannot be a version of ours is not there; it is no malformed request (R4 §3.1.0.4).
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise NotFound("There is no such version.")
    return int(text)
