"""The history interaction over HTTP, at instance, type and system level (R4 §3.1.0.12)."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import NotFound
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry, build_page_url
from ehr_gateway.http.negotiation import etag, fhir_response, parse_preferences
from ehr_gateway.http.query_string import parse_query
from ehr_gateway.http.responses import record_disclosure, require_resource_type
from ehr_gateway.interactions import history
from ehr_gateway.interactions.history import HistoryPage
from ehr_gateway.store.store import Version

# The status that each method had when it wrote its version.
_STATUS = {"POST": "201", "PUT": "200", "PATCH": "200", "DELETE": "204"}


def list_system_history(context: RequestContext) -> Response:
    """List the versions of every type."""
    return _answer_history(context, "history-system")


def list_type_history(context: RequestContext, resource_type: str) -> Response:
    """List the versions of a type."""
    _require_type_with_history(resource_type)
    return _answer_history(context, "history-type", resource_type)


def list_resource_history(context: RequestContext, resource_type: str, logical_id: str) -> Response:
    """List the versions of a resource."""
    _require_type_with_history(resource_type)
    return _answer_history(context, "history-instance", resource_type, logical_id)


def _require_type_with_history(resource_type: str) -> None:
    require_resource_type(resource_type)
    if resource_type == "AuditEvent":
        # An empty page would read as "nobody looked".
        text = "Events of the audit log have no versions; search AuditEvent."
        raise NotFound(text, issue_code="not-supported")
    if resource_type == "Subscription":
        raise NotFound("Subscriptions have no versions to list.", issue_code="not-supported")


def _answer_history(context: RequestContext, interaction: str, *target: str) -> Response:
    """Answer with a page of versions; the target is a type and an id, a type, or nothing."""
    audit_context = context.begin_audit(interaction)
    # What cannot be served is refused before anything is read.
    prefer = parse_preferences(context.request)
    pairs = parse_query(context.request)
    query = history.parse_history_query(pairs, lenient=prefer.lenient)
    resource_type, logical_id = (*target, None, None)[:2]
    page = history.history(context.gateway.store, context.access, resource_type, logical_id, query)
    record_disclosure(context, audit_context, [version for version, _ in page.versions])
    address = "/".join((*target, "_history"))
    body = build_history(context.gateway.settings.fhir_base, address, pairs, page)
    return fhir_response(body, pretty=prefer.pretty)


def build_history(
    base: str, address: str, pairs: Sequence[tuple[str, str]], page: HistoryPage
) -> bytes:
    """Return the Bundle of a page; the pairs are the parameters that asked for it."""
    links = [("self", build_page_url(f"{base}/{address}", pairs))]
    if page.next_cursor is not None:
        rest = [pair for pair in pairs if pair[0] != "_cursor"]
        links.append(
            ("next", build_page_url(f"{base}/{address}", [*rest, ("_cursor", page.next_cursor)]))
        )
    entries = (_build_history_entry(base, version, method) for version, method in page.versions)
    return build_bundle("history", entries, total=page.total, links=links)


def _build_history_entry(base: str, version: Version, method: str) -> bytes:
    address = f"{version.type}/{version.id}"
    response: dict[str, object] = {
        "status": _STATUS[method] if version.version > 1 or method != "PUT" else "201",
        "etag": etag(version.version),
        "lastModified": format_instant(version.last_updated_ms),
    }
    request = {"method": method, "url": version.type if method == "POST" else address}
    return build_entry(
        f"{base}/{address}",
        None if version.deleted else version.body,
        request=request,
        response=response,
    )
