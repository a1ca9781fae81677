"""The reads of a batch, each a request of its own (R4 §3.1.0.11.2): judged and on record alone.

One authentication, one admission and one thread serve all of them; what one of them asks, and whom
it finds, is on record as if it had been sent alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import Response

from ehr_gateway.access import Access
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.asked_about import defer_request_rows
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.error_responses import attempted_resource
from ehr_gateway.http.query_string import describe_query
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.inquiry import Inquiry
from ehr_gateway.interactions.bundle.bundle import EntryResult, disclosed_versions
from ehr_gateway.interactions.bundle.entries import Entry, absent_operation
from ehr_gateway.interactions.bundle.reads import ReadTarget
from ehr_gateway.operations.registry import answer_read, operation_routes
from ehr_gateway.routes.route import FHIR_PREFIX, Route, RouteTable

__all__ = ["BatchRequests"]

_READS = {
    route.path: route
    for route in operation_routes()
    if "GET" in route.methods and not route.operation.declaration.affects_state
}
_READ_TABLE = RouteTable(
    Route(route.methods, route.path, route.endpoint) for route in _READS.values()
)


class BatchRequests:
    """The requests that the reading entries of one batch are, by the path of the entry."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._contexts: dict[str, RequestContext] = {}

    def begin(self, entry: Entry) -> Access:
        """Begin the request that an entry is; return its own access."""
        target = entry.target or ReadTarget()
        scope = {
            **self._context.request.scope,
            "method": entry.method,
            "path": f"{FHIR_PREFIX}/{target.address}".rstrip("/"),
            "query_string": urlencode(target.pairs).encode(),
            "path_params": {"resource_type": target.type or "", "logical_id": target.id or ""},
            "state": {"request_id": self._context.access.request_id},
        }
        access = replace(self._context.access, inquiry=Inquiry())
        context = replace(self._context, access=access, request=Request(scope))
        self._contexts[entry.path] = context
        if not target.is_operation:
            context.begin_audit(_interaction_of(target), _query_of(target))
        return access

    def invoke(self, entry: Entry) -> bytes:
        """Return what the operation that an entry names answers."""
        context = self._contexts[entry.path]
        path = context.request.scope["path"]
        route = _READ_TABLE.find("GET", path)
        if route is None:
            raise absent_operation(entry.path)
        context.request.scope["path_params"] = path_params = route.path_params(path)
        response: Response = answer_read(_READS[route.path], context, path_params)
        return bytes(response.body)

    def record(self, results: Iterable[EntryResult]) -> list[EntryResult]:
        """Put each request on record; return the results of the entries that are none."""
        others = []
        for index, result in enumerate(results):
            context = self._contexts.get(f"Bundle.entry[{index}]")
            if context is None:
                others.append(result)
            elif result.target is None or not result.target.is_metadata:
                self._record_request(context, result)
        return others

    def _record_request(self, context: RequestContext, result: EntryResult) -> None:
        state = context.request.scope["state"]
        audit_context = state.get("audit_context") or context.begin_audit("rest")
        if result.is_refused:
            state.pop("audit_entries", None)
            refusal = recorder.build_refusal_rows(
                audit_context=audit_context,
                status=int(result.status[:3]),
                attempted=attempted_resource(context.request),
            )
            context.add_audit_entry(refusal)
        elif result.answer is None:
            record_disclosure(context, audit_context, disclosed_versions([result]))
        inquiry, gateway = context.access.inquiry, context.gateway
        entries = state.pop("audit_entries", ())
        if not inquiry:
            for entry in entries:
                self._context.add_audit_entry(entry)
            return
        base = gateway.settings.fhir_base
        self._context.add_audit_entry(
            defer_request_rows(entries, inquiry, audit_context, gateway.store, base)
        )


def _interaction_of(target: ReadTarget) -> str:
    """Return the code of the interaction that a target asks for (restful-interaction)."""
    if target.history:
        level = "instance" if target.id else "type" if target.type else "system"
        return f"history-{level}"
    if target.id is None or target.type is None:
        return "search-type" if target.type else "search-system"
    return "read" if target.version is None else "vread"


def _query_of(target: ReadTarget) -> str | None:
    """Return what the audit log keeps of a search: the names of its parameters."""
    is_search = not target.history and (target.id is None or target.type is None)
    return describe_query(target.address, target.pairs) if is_search else None
