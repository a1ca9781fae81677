"""The batch and transaction interactions over HTTP (R4 §3.1.0.11)."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Unprocessable
from ehr_fhir.json_text import parse, serialize
from ehr_gateway.audit_log import recorder
from ehr_gateway.conformance.metadata import read_capabilities
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry
from ehr_gateway.http.negotiation import Preferences, fhir_response, parse_preferences
from ehr_gateway.http.query_string import check_parameters
from ehr_gateway.http.responses import build_audit_hook, record_disclosure
from ehr_gateway.http.searchset import build_searchset, search_limits
from ehr_gateway.interactions.bundle import bundle
from ehr_gateway.interactions.bundle.entry_urls import relative_url
from ehr_gateway.routes.batch_requests import BatchRequests
from ehr_gateway.routes.history import build_history

# What is not in the store: the audit log, and the definitions that are made from the code.
_OWN_ADDRESSES = ("AuditEvent", "OperationDefinition", "Subscription")


def process_bundle(context: RequestContext, body: bytes) -> Response:
    """Carry out a batch or a transaction."""
    prefer = parse_preferences(context.request)
    check_parameters(context.request, lenient=prefer.lenient)
    # Which of the two it is stands in the body; a refusal before that is logged as a batch.
    audit_context = context.begin_audit("batch")
    settings = context.gateway.settings
    _refuse_own_addresses(body, settings.fhir_base)
    requests = BatchRequests(context)
    result = bundle.process_bundle(
        context.gateway.store,
        context.access,
        body,
        audit=build_audit_hook(audit_context),
        most_entries=settings.max_bundle_entries,
        options=bundle.ReadOptions(prefer.lenient, search_limits(settings), requests),
    )
    others = requests.record(result.entries)
    _record_reads_and_refusals(context, audit_context, others)
    entries = [_build_response_entry(context, entry, prefer) for entry in result.entries]
    return fhir_response(build_bundle(result.type, entries), pretty=prefer.pretty)


def _refuse_own_addresses(body: bytes, base: str) -> None:
    """Refuse a Bundle that asks for what is in no store, which it does not reach.

    An empty answer would mislead.
    """
    # Parsed only where a word may stand; JSON may write any of its letters as `\\u00..`.
    if b"\\u00" not in body and not any(kind.encode() in body for kind in _OWN_ADDRESSES):
        return
    for url in _requested_urls(body):
        for kind in _OWN_ADDRESSES:
            if relative_url(url, base).startswith(kind):
                text = f"{kind} is served at its own address, not in a Bundle."
                raise Unprocessable(text, issue_code="not-supported")


def _record_reads_and_refusals(
    context: RequestContext,
    audit_context: recorder.AuditContext,
    results: Sequence[bundle.EntryResult],
) -> None:
    """Put reads and refusals on record; the writes are, in their own transaction."""
    refused = [result.status for result in results if result.is_refused]
    if versions := bundle.disclosed_versions(results):
        record_disclosure(context, audit_context, versions)
    for status in refused:
        code = int(status[:3])
        context.add_audit_entry(
            recorder.build_refusal_rows(audit_context=audit_context, status=code, attempted=None)
        )


def _build_response_entry(
    context: RequestContext, result: bundle.EntryResult, prefer: Preferences
) -> bytes:
    base = context.gateway.settings.fhir_base
    response: dict[str, object] = {"status": result.status}
    if result.location and result.written:
        response["location"] = f"{base}/{result.location}"
    if result.etag:
        response["etag"] = result.etag
    if result.last_modified is not None:
        response["lastModified"] = format_instant(result.last_modified)
    if result.outcome is not None:
        response["outcome"] = result.outcome
    elif result.written and prefer.returns == "OperationOutcome":
        # Where R4 has it: beside the status, not in the place of the resource.
        response["outcome"] = _success_outcome(result.status)
    return build_entry(
        _full_url(base, result), _response_resource(context, result, prefer), response=response
    )


def _requested_urls(body: bytes) -> list[str]:
    """Return the url of each entry, empty where there is none."""
    entries = parse(body).get("entry")
    requests = [
        entry.get("request") if isinstance(entry, dict) else None
        for entry in (entries if isinstance(entries, list) else [])
    ]
    urls = [request.get("url") if isinstance(request, dict) else None for request in requests]
    return [url if isinstance(url, str) else "" for url in urls]


def _full_url(base: str, result: bundle.EntryResult) -> str | None:
    version = result.version
    return None if version is None else f"{base}/{version.type}/{version.id}"


def _response_resource(
    context: RequestContext, result: bundle.EntryResult, prefer: Preferences
) -> bytes | None:
    base = context.gateway.settings.fhir_base
    if result.without_body or (result.written and prefer.returns != "representation"):
        return None
    if result.answer is not None:
        return result.answer
    if result.target is not None and result.target.is_metadata:
        return serialize(read_capabilities(context.gateway))
    address, pairs = (result.target.address, result.target.pairs) if result.target else ("", ())
    if result.page is not None:
        cursor = [pair for pair in pairs if pair[0] == "_cursor"]
        return build_searchset(base, address, result.page, cursor)
    if result.history is not None:
        return build_history(base, address, pairs, result.history)
    return result.body


def _success_outcome(status: str) -> dict[str, object]:
    issue = {"severity": "information", "code": "informational", "diagnostics": status}
    return {"resourceType": "OperationOutcome", "issue": [issue]}
