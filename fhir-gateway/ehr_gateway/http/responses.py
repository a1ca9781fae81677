"""Requests about one resource: what they may ask, and the response that holds a version of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import orjson
from fastapi.responses import Response

from ehr_fhir import definitions
from ehr_fhir.errors import NotFound, Unsupported
from ehr_fhir.search.query import parse_subset
from ehr_fhir.subset import Subset
from ehr_gateway.audit_log import recorder
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.binary_content import (
    BINARY,
    content_response,
    content_type_of,
    prefers_content,
)
from ehr_gateway.http.negotiation import (
    Preferences,
    etag,
    fhir_response,
    http_date,
    is_not_modified,
    parse_preferences,
)
from ehr_gateway.http.query_string import check_parameters
from ehr_gateway.store.consequences import Consequence
from ehr_gateway.store.store import AuditHook, Version
from ehr_gateway.transaction.identity_proposals import proposal_outcome
from ehr_gateway.transaction.transaction import WriteResult

__all__ = [
    "begin_read",
    "begin_request",
    "begin_write",
    "build_audit_hook",
    "build_version_headers",
    "change_response",
    "delete_response",
    "record_disclosure",
    "require_resource_type",
    "require_writable_type",
    "version_response",
    "write_response",
]


def begin_request(context: RequestContext, resource_type: str) -> Preferences:
    """Check type, format and query of a request that takes no parameters."""
    prefer = parse_preferences(context.request, any_type=resource_type == BINARY)
    require_resource_type(resource_type)
    check_parameters(context.request, lenient=prefer.lenient)
    return prefer


def begin_read(context: RequestContext, resource_type: str) -> tuple[Preferences, Subset | None]:
    """Check a read, which may ask for a part of the resource by `_elements` or `_summary`."""
    prefer = parse_preferences(context.request, any_type=resource_type == BINARY)
    require_resource_type(resource_type)
    pairs = check_parameters(
        context.request, lenient=prefer.lenient, allowed=("_elements", "_summary")
    )
    return prefer, parse_subset(resource_type, pairs)


def begin_write(context: RequestContext, resource_type: str) -> Preferences:
    """Check a write that takes no parameters."""
    require_writable_type(resource_type)
    return begin_request(context, resource_type)


def require_writable_type(resource_type: str) -> None:
    """Refuse the audit log, which nobody writes over HTTP, and what is no resource type."""
    if resource_type == "AuditEvent":
        raise Unsupported("The audit log is written by the server alone.")
    require_resource_type(resource_type)


def require_resource_type(resource_type: str) -> None:
    """Refuse what is no resource type of R4."""
    if resource_type not in definitions.resource_types():
        raise NotFound("The address names no resource type of FHIR R4.")


def build_audit_hook(
    audit_context: recorder.AuditContext,
) -> AuditHook:
    """Return the function by which a write puts itself on record in its own transaction."""

    def hook(
        connection: Connection,
        versions: Sequence[Version],
        consequences: Sequence[Consequence],
    ) -> None:
        rows = recorder.build_disclosure_rows(connection, audit_context, versions)
        rows += recorder.build_opened_rows(audit_context, consequences)
        recorder.record_rows(connection, rows)

    return hook


def record_disclosure(
    context: RequestContext, audit_context: recorder.AuditContext, versions: Sequence[Version]
) -> None:
    """Put versions on record as disclosed; the entry is written before the response leaves."""
    rows = recorder.build_known_rows(audit_context, versions)
    if rows is not None:
        context.add_audit_entry(rows)
        return
    context.add_audit_entry(
        partial(recorder.build_disclosure_rows, audit_context=audit_context, versions=versions)
    )


def version_response(
    context: RequestContext, version: Version, prefer: Preferences, subset: Subset | None = None
) -> Response:
    """Return a version, a part of it, a Binary's content, or 304 to a client that has it."""
    headers = build_version_headers(version)
    is_content = (
        version.type == BINARY
        and subset is None
        and prefers_content(context.request, content_type_of(orjson.loads(version.body)))
    )
    if version.type == BINARY:
        headers["Vary"] = "Accept"
    if is_not_modified(context.request, version.version, version.last_updated_ms):
        return Response(status_code=304, headers=headers)
    if is_content:
        return content_response(version.body, headers)
    body = version.body if subset is None else subset.cut(version.body)
    return fhir_response(body, headers=headers, pretty=prefer.pretty)


def write_response(
    context: RequestContext, version: Version, prefer: Preferences, *, created: bool
) -> Response:
    """Return the response to a write: by Prefer the version, nothing, or an outcome."""
    headers = build_version_headers(version)
    base = context.gateway.settings.fhir_base
    if created:
        headers["Location"] = f"{base}/{version.type}/{version.id}/_history/{version.version}"
    status = 201 if created else 200
    if prefer.returns == "minimal":
        return fhir_response(b"", status, headers=headers)
    if prefer.returns == "OperationOutcome":
        body = orjson.dumps(_stored_outcome(version))
        return fhir_response(body, status, headers=headers, pretty=prefer.pretty)
    return fhir_response(version.body, status, headers=headers, pretty=prefer.pretty)


def change_response(context: RequestContext, result: WriteResult, prefer: Preferences) -> Response:
    """Return the response to an update or patch; 202 for a proposal, which changes nothing yet."""
    if result.proposal is None:
        return write_response(context, result.version, prefer, created=result.created)
    body = orjson.dumps(proposal_outcome(result.proposal))
    return fhir_response(body, 202, pretty=prefer.pretty)


def delete_response(version: Version | None, prefer: Preferences) -> Response:
    """Return the response to a delete: 204, or an outcome where Prefer asks for one."""
    headers = {} if version is None else {"ETag": etag(version.version)}
    if prefer.returns != "OperationOutcome":
        return Response(status_code=204, headers=headers)
    text = "Nothing met the criteria." if version is None else "It is deleted; its history stays."
    return fhir_response(orjson.dumps(_outcome(text)), headers=headers, pretty=prefer.pretty)


def _stored_outcome(version: Version) -> dict[str, object]:
    text = f"{version.type}/{version.id} is stored as version {version.version}."
    return _outcome(text)


def _outcome(text: str) -> dict[str, object]:
    issue = {"severity": "information", "code": "informational", "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def build_version_headers(version: Version) -> dict[str, str]:
    """Return the headers that name a version."""
    return {"ETag": etag(version.version), "Last-Modified": http_date(version.last_updated_ms)}
