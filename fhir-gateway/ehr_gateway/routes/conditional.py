"""Conditional update, patch and delete over HTTP (R4 §3.1.0.4, §3.1.0.6, §3.1.0.7).

Search criteria in the address name the resource in the place of an id.
"""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi.responses import Response

from ehr_fhir.errors import Unsupported
from ehr_fhir.patch.patch import Patch
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.negotiation import parse_if_match, parse_preferences
from ehr_gateway.http.query_string import describe_query, parse_query
from ehr_gateway.http.responses import (
    build_audit_hook,
    change_response,
    delete_response,
    require_writable_type,
)
from ehr_gateway.interactions import delete, patch, update
from ehr_gateway.search.criteria import note_criteria


def update_by_criteria(context: RequestContext, resource_type: str, body: bytes) -> Response:
    """Update the one resource that matches; create one where none does."""
    prefer = parse_preferences(context.request)
    criteria, audit_context = _begin_conditional(context, resource_type, "update")
    result = update.update_matching(
        context.gateway.store,
        context.access,
        resource_type,
        criteria,
        body,
        if_match=parse_if_match(context.request),
        audit=build_audit_hook(audit_context),
    )
    return change_response(context, result, prefer)


def patch_by_criteria(context: RequestContext, resource_type: str, body: Patch) -> Response:
    """Patch the one resource that matches; 404 where none does."""
    prefer = parse_preferences(context.request)
    criteria, audit_context = _begin_conditional(context, resource_type, "patch")
    result = patch.patch_matching(
        context.gateway.store,
        context.access,
        resource_type,
        criteria,
        body,
        if_match=parse_if_match(context.request),
        audit=build_audit_hook(audit_context),
    )
    return change_response(context, result, prefer)


def delete_by_criteria(context: RequestContext, resource_type: str) -> Response:
    """Delete the one resource that matches; none is no error."""
    prefer = parse_preferences(context.request)
    criteria, audit_context = _begin_conditional(context, resource_type, "delete")
    version = delete.delete_matching(
        context.gateway.store,
        context.access,
        resource_type,
        criteria,
        if_match=parse_if_match(context.request),
        audit=build_audit_hook(audit_context),
    )
    return delete_response(version, prefer)


def _begin_conditional(
    context: RequestContext, resource_type: str, interaction: str
) -> tuple[str, AuditContext]:
    """Return the criteria, and begin the audit entry; without criteria a write names nothing."""
    require_writable_type(resource_type)
    pairs = parse_query(context.request)
    if not pairs:
        raise Unsupported("Name the resource by its id, or by search criteria in the address.")
    audit_context = context.begin_audit(interaction, describe_query(resource_type, pairs))
    criteria = urlencode(pairs)
    note_criteria(context.access, resource_type, criteria)
    return criteria, audit_context
