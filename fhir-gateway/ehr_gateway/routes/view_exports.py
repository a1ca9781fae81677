"""Exports of views: their status, their result, their files, and how they are cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import BinaryIO

import anyio.to_thread
from fastapi.responses import Response, StreamingResponse

from ehr_fhir.errors import NotFound
from ehr_gateway.audit_log import recorder
from ehr_gateway.http.authentication import ACCESS_SCOPE, RequestContext, require_scope
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.view_exports import EXPORT_PATH, result_response, status_response
from ehr_gateway.operations._table_answers import require_research
from ehr_gateway.research_queries import ResearchQueries

__all__ = ["cancel_export", "read_export_file", "read_export_result", "read_export_status"]

_CHUNK_BYTES = 256 * 1024


def read_export_status(context: RequestContext, export_id: str) -> Response:
    """Answer how far an export of the requester is."""
    research, login, audit_context = _begin(context, export_id)
    status = research.read_export(login, export_id)
    _record(context, audit_context)
    return status_response(context, status)


def read_export_result(context: RequestContext, export_id: str) -> Response:
    """Answer with the files of a finished export of the requester."""
    research, login, audit_context = _begin(context, f"{export_id}/result")
    status = research.read_export(login, export_id)
    if status.state != "completed":
        raise NotFound("The export is not done yet: ask for its status.")
    _record(context, audit_context)
    return result_response(context, status)


def cancel_export(context: RequestContext, export_id: str) -> Response:
    """Cancel an export of the requester, or erase its files before they expire."""
    research, login, audit_context = _begin(context, export_id)
    research.cancel_export(login, export_id)
    _record(context, audit_context)
    return fhir_response(b"", 202)


def read_export_file(context: RequestContext, export_id: str, number: str) -> Response:
    """Answer with a file of an export of the requester; the rights are judged again."""
    research, login, audit_context = _begin(context, f"{export_id}/files/{number}")
    if not (number.isascii() and number.isdigit() and len(number) <= 3):
        raise NotFound("The export has no such file.")
    content, media_type = research.open_export_file(
        login, export_id, int(number), changed=context.gateway.store.list_changed_subjects
    )
    _record(context, audit_context)
    return _FileResponse(content, media_type)


class _FileResponse(StreamingResponse):
    """An open file, sent piece by piece; an erasure of it meanwhile does not cut it."""

    def __init__(self, content: BinaryIO, media_type: str) -> None:
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        super().__init__(_read_chunks(content), headers=headers, media_type=media_type)


async def _read_chunks(content: BinaryIO) -> AsyncIterator[bytes]:
    with content:
        while chunk := await anyio.to_thread.run_sync(content.read, _CHUNK_BYTES):
            yield chunk


def _begin(
    context: RequestContext, address: str
) -> tuple[ResearchQueries, str, recorder.AuditContext]:
    audit_context = context.begin_audit("operation", f"{EXPORT_PATH}/{address}"[:200])
    require_scope(context, ACCESS_SCOPE)
    return *require_research(context), audit_context


def _record(context: RequestContext, audit_context: recorder.AuditContext) -> None:
    context.add_audit_entry(recorder.build_event_rows(audit_context, None))
