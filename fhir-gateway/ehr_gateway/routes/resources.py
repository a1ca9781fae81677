"""One resource over HTTP: read, vread, create, update, delete (R4 §3.1.0)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_fhir.patch.patch import Patch
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import Authenticated, RequestContext
from ehr_gateway.http.body import fhir_body, patch_body
from ehr_gateway.http.negotiation import if_match, only_new
from ehr_gateway.http.responses import (
    audit_hook,
    begin_read,
    begin_write,
    delete_response,
    record_disclosure,
    version_response,
    write_response,
)
from ehr_gateway.interactions import create, delete, patch, read, update, vread
from ehr_gateway.transaction import event_loop_writer
from ehr_gateway.transaction.event_loop_writer import Job

router = APIRouter(prefix="/fhir")
Body = Annotated[bytes, Depends(fhir_body)]
PatchBody = Annotated[Patch, Depends(patch_body)]
_GET = ["GET", "HEAD"]


@router.api_route("/{resource_type}/{logical_id}", methods=_GET)
def read_resource(context: Authenticated, resource_type: str, logical_id: str) -> Response:
    """Read the current version."""
    prefer, subset = begin_read(context, resource_type)
    audit_context = context.begin_audit("read")
    version = read.read(context.gateway.store, context.access, resource_type, logical_id)
    record_disclosure(context, audit_context, [version])
    return version_response(context, version, prefer, subset)


@router.api_route("/{resource_type}/{logical_id}/_history/{version_id}", methods=_GET)
def vread_resource(
    context: Authenticated, resource_type: str, logical_id: str, version_id: str
) -> Response:
    """Read one version."""
    prefer, subset = begin_read(context, resource_type)
    audit_context = context.begin_audit("vread")
    number = _version_number(version_id)
    version = vread.vread(context.gateway.store, context.access, resource_type, logical_id, number)
    record_disclosure(context, audit_context, [version])
    return version_response(context, version, prefer, subset)


@router.post("/{resource_type}")
def create_resource(context: Authenticated, resource_type: str, body: Body) -> Response:
    """Create a resource under an id of ours."""
    return event_loop_writer.run_write(
        context.gateway.store, creating(context, resource_type, body)
    )


def creating(context: RequestContext, resource_type: str, body: bytes) -> Job[Response]:
    """Begin a create; return what writes it and makes the answer."""
    prefer = begin_write(context, resource_type)
    audit_context = context.begin_audit("create")
    criteria = context.request.headers.get("if-none-exist")
    if criteria is not None:
        criteria = criteria.partition("?")[2] or criteria
    job = create.creating(
        context.gateway.store,
        context.access,
        resource_type,
        body,
        criteria,
        audit=audit_hook(audit_context),
    )

    def answered(connection: Connection) -> Response:
        result = job(connection)
        if not result.created:
            record_disclosure(context, context.begin_audit("read"), [result.version])
        return write_response(context, result.version, prefer, created=result.created)

    return answered


@router.put("/{resource_type}/{logical_id}")
def update_resource(
    context: Authenticated, resource_type: str, logical_id: str, body: Body
) -> Response:
    """Write the next version, or the first one under the client's own id."""
    return event_loop_writer.run_write(
        context.gateway.store, updating(context, resource_type, logical_id, body)
    )


def updating(
    context: RequestContext, resource_type: str, logical_id: str, body: bytes
) -> Job[Response]:
    """Begin an update; return what writes it and makes the answer."""
    prefer = begin_write(context, resource_type)
    audit_context = context.begin_audit("update")
    job = update.updating(
        context.gateway.store,
        context.access,
        resource_type,
        logical_id,
        body,
        if_match(context.request),
        only_new=only_new(context.request),
        audit=audit_hook(audit_context),
    )

    def answered(connection: Connection) -> Response:
        result = job(connection)
        return write_response(context, result.version, prefer, created=result.created)

    return answered


@router.patch("/{resource_type}/{logical_id}")
def patch_resource(
    context: Authenticated, resource_type: str, logical_id: str, changes: PatchBody
) -> Response:
    """Write the next version as a patch of the current one."""
    prefer = begin_write(context, resource_type)
    audit_context = context.begin_audit("patch")
    result = patch.patch(
        context.gateway.store,
        context.access,
        resource_type,
        logical_id,
        changes,
        if_match=if_match(context.request),
        audit=audit_hook(audit_context),
    )
    return write_response(context, result.version, prefer, created=False)


@router.delete("/{resource_type}/{logical_id}")
def delete_resource(context: Authenticated, resource_type: str, logical_id: str) -> Response:
    """Delete a resource; its history stays."""
    prefer = begin_write(context, resource_type)
    audit_context = context.begin_audit("delete")
    version = delete.delete(
        context.gateway.store,
        context.access,
        resource_type,
        logical_id,
        if_match=if_match(context.request),
        audit=audit_hook(audit_context),
    )
    return delete_response(version, prefer)


def _version_number(text: str) -> int:
    # What cannot be a version of ours is not there; it is no malformed request (R4 §3.1.0.4).
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise NotFound("There is no such version.")
    return int(text)
