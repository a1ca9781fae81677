"""Bulk imports: their status, what was refused, and how they are cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio.to_thread
import orjson
from fastapi.responses import Response, StreamingResponse

from ehr_fhir.errors import NotFound, Unprocessable, operation_outcome
from ehr_gateway.audit_log import recorder
from ehr_gateway.bulk_data.imports import (
    BulkImport,
    ImportFault,
    cancel_import,
    find_import,
    list_faults,
)
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.bulk_imports import (
    IMPORT_PATH,
    import_failed_response,
    import_owner,
    import_progress_response,
    import_result_response,
    require_import_scopes,
)
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.store.store import Store

__all__ = ["cancel_bulk_import", "read_import_errors", "read_import_status"]

_SUFFIX = ".ndjson"
# Lines of one statement. Chosen: some hundred kilobytes.
_LINES = 2000


def read_import_status(context: RequestContext, import_id: str) -> Response:
    """Answer how far an import is: 202 while it is under way, then what came of it."""
    audit_context, found = _begin(context, import_id)
    context.add_audit_entry(recorder.build_event_rows(audit_context, None))
    if found.state == "failed":
        return import_failed_response(found)
    if found.state == "completed":
        return import_result_response(context, found)
    return import_progress_response(found)


def cancel_bulk_import(context: RequestContext, import_id: str) -> Response:
    """Cancel an import, or forget one that has ended; what it stored stays."""
    audit_context, found = _begin(context, import_id)
    cancel_import(context.gateway.store, found.id)
    if context.gateway.imports is not None:
        # Its files are removed.
        context.gateway.imports.start()
    context.add_audit_entry(recorder.build_event_rows(audit_context, None))
    return fhir_response(b"", 202)


def read_import_errors(context: RequestContext, import_id: str, name: str) -> Response:
    """Answer with an OperationOutcome for each refused line of an input."""
    audit_context, found = _begin(context, import_id)
    number = name.removesuffix(_SUFFIX)
    is_number = number.isascii() and number.isdigit() and len(number) < 6
    if found.state != "completed" or not is_number or not name.endswith(_SUFFIX):
        raise NotFound("The import has no such file.")
    context.add_audit_entry(recorder.build_event_rows(audit_context, None))
    return StreamingResponse(
        _send_faults(context.gateway.store, found.id, int(number)),
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        media_type="application/fhir+ndjson",
    )


def _begin(context: RequestContext, import_id: str) -> tuple[recorder.AuditContext, BulkImport]:
    audit_context = context.begin_audit("operation", f"{IMPORT_PATH}/{import_id}"[:200])
    owner = import_owner(context)
    found = find_import(context.gateway.store, owner, import_id, context.access.now_ms)
    require_import_scopes(context, found.request)
    return audit_context, found


async def _send_faults(store: Store, import_id: str, number: int) -> AsyncIterator[bytes]:
    after = -1
    while True:
        faults = await anyio.to_thread.run_sync(
            list_faults, store, import_id, number, after, _LINES
        )
        if not faults:
            return
        yield b"".join(_format_fault(fault) for _, fault in faults)
        after = faults[-1][0]


def _format_fault(fault: ImportFault) -> bytes:
    place = f"line {fault.line}: " if fault.line else ""
    return orjson.dumps(operation_outcome(Unprocessable(f"{place}{fault.reason}"))) + b"\n"
