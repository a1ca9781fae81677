"""One resource over HTTP: read, vread, create, update, patch, delete (R4 §3.1.0)."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_fhir.patch.patch import Patch
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.header_text import header_text
from ehr_gateway.http.negotiation import parse_if_match, requires_new
from ehr_gateway.http.responses import (
    begin_read,
    begin_write,
    build_audit_hook,
    change_response,
    delete_response,
    record_disclosure,
    version_response,
    write_response,
)
from ehr_gateway.interactions import create, delete, patch, read, update, vread
from ehr_gateway.search.criteria import note_criteria
from ehr_gateway.transaction.write_batch import WriteJob

# More digits than any number of versions; what is longer cannot name one.
_MOST_VERSION_DIGITS = 9


def read_resource(context: RequestContext, resource_type: str, logical_id: str) -> Response:
    """Read the current version."""
    prefer, subset = begin_read(context, resource_type)
    audit_context = context.begin_audit("read")
    version = read.read(context.gateway.store, context.access, resource_type, logical_id)
    record_disclosure(context, audit_context, [version])
    return version_response(context, version, prefer, subset)


def vread_resource(
    context: RequestContext, resource_type: str, logical_id: str, version_id: str
) -> Response:
    """Read one version."""
    prefer, subset = begin_read(context, resource_type)
    audit_context = context.begin_audit("vread")
    number = _version_number(version_id)
    version = vread.vread(context.gateway.store, context.access, resource_type, logical_id, number)
    record_disclosure(context, audit_context, [version])
    return version_response(context, version, prefer, subset)


def create_resource(context: RequestContext, resource_type: str, body: bytes) -> WriteJob[Response]:
    """Prepare a create under an id of the server's; return the job that stores and answers it."""
    prefer = begin_write(context, resource_type)
    audit_context = context.begin_audit("create")
    if (criteria := _if_none_exist(context)) is not None:
        note_criteria(context.access, resource_type, criteria)
    job = create.prepare_create(
        context.gateway.store,
        context.access,
        resource_type,
        body,
        criteria,
        audit=build_audit_hook(audit_context),
    )

    def store_and_answer(connection: Connection) -> Response:
        result = job(connection)
        if not result.created:
            record_disclosure(context, context.begin_audit("read"), [result.version])
        return write_response(context, result.version, prefer, created=result.created)

    return store_and_answer


def update_resource(
    context: RequestContext, resource_type: str, logical_id: str, body: bytes
) -> WriteJob[Response]:
    """Prepare the next version, or the first under the client's own id; return the job for it."""
    prefer = begin_write(context, resource_type)
    audit_context = context.begin_audit("update")
    job = update.prepare_update(
        context.gateway.store,
        context.access,
        resource_type,
        logical_id,
        body,
        parse_if_match(context.request),
        only_new=requires_new(context.request),
        audit=build_audit_hook(audit_context),
    )

    def store_and_answer(connection: Connection) -> Response:
        return change_response(context, job(connection), prefer)

    return store_and_answer


def patch_resource(
    context: RequestContext, resource_type: str, logical_id: str, body: Patch
) -> Response:
    """Write the next version as a patch of the current one."""
    prefer = begin_write(context, resource_type)
    audit_context = context.begin_audit("patch")
    result = patch.patch(
        context.gateway.store,
        context.access,
        resource_type,
        logical_id,
        body,
        if_match=parse_if_match(context.request),
        audit=build_audit_hook(audit_context),
    )
    return change_response(context, result, prefer)


def delete_resource(
    context: RequestContext, resource_type: str, logical_id: str
) -> WriteJob[Response]:
    """Prepare a deletion, whose history stays; return the job for it."""
    prefer = begin_write(context, resource_type)
    audit_context = context.begin_audit("delete")
    job = delete.prepare_delete(
        context.gateway.store,
        context.access,
        resource_type,
        logical_id,
        parse_if_match(context.request),
        audit=build_audit_hook(audit_context),
    )

    def store_and_answer(connection: Connection) -> Response:
        return delete_response(job(connection), prefer)

    return store_and_answer


def _if_none_exist(context: RequestContext) -> str | None:
    """Return the criteria of a conditional create; clients send them with `Type?` or without."""
    header = header_text(context.request, "If-None-Exist")
    return None if header is None else header.partition("?")[2] or header


def _version_number(text: str) -> int:
    # What cannot be a version of ours is not there; it is no malformed request (R4 §3.1.0.4).
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_VERSION_DIGITS:
        raise NotFound("There is no such version.")
    return int(text)
