"""Conditional update, patch and delete over HTTP: criteria in the address in the place of an id."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi.responses import Response

from ehr_fhir.errors import Unsupported
from ehr_fhir.patch.patch import Patch
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.negotiation import parse_if_match, parse_preferences
from ehr_gateway.http.query_string import parse_query
from ehr_gateway.http.responses import (
    delete_response,
    record_in_transaction,
    require_writable_type,
    write_response,
)
from ehr_gateway.interactions import delete, patch, update


def update_by_criteria(context: RequestContext, resource_type: str, body: bytes) -> Response:
    """Write the next version of the one match, or a first version where there is none."""
    prefer = parse_preferences(context.request)
    criteria, audit_context = _begin(context, resource_type, "update")
    result = update.update_matching(
        context.gateway.store,
        context.access,
        resource_type,
        criteria,
        body,
        if_match=parse_if_match(context.request),
        audit=record_in_transaction(audit_context),
    )
    return write_response(context, result.version, prefer, created=result.created)


def patch_by_criteria(context: RequestContext, resource_type: str, body: Patch) -> Response:
    """Patch the one match."""
    prefer = parse_preferences(context.request)
    criteria, audit_context = _begin(context, resource_type, "patch")
    result = patch.patch_matching(
        context.gateway.store,
        context.access,
        resource_type,
        criteria,
        body,
        if_match=parse_if_match(context.request),
        audit=record_in_transaction(audit_context),
    )
    return write_response(context, result.version, prefer, created=False)


def delete_by_criteria(context: RequestContext, resource_type: str) -> Response:
    """Delete the one match; where there is none, nothing has to be done."""
    prefer = parse_preferences(context.request)
    criteria, audit_context = _begin(context, resource_type, "delete")
    version = delete.delete_matching(
        context.gateway.store,
        context.access,
        resource_type,
        criteria,
        if_match=parse_if_match(context.request),
        audit=record_in_transaction(audit_context),
    )
    return delete_response(version, prefer)


def _begin(
    context: RequestContext, resource_type: str, interaction: str
) -> tuple[str, AuditContext]:
    require_writable_type(resource_type)
    pairs = parse_query(context.request)
    if not pairs:
        raise Unsupported("Name the resource by its id, or by search criteria in the address.")
    # The names of the parameters without their values, as for a search.
    query = f"{resource_type}?" + "&".join(name[:64] for name, _ in pairs)
    return urlencode(pairs), context.begin_audit(interaction, query)
