"""Responses about bulk exports: where they are, how far, and the manifest of their files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Forbidden
from ehr_gateway.bulk_data.exports import BulkExport, ExportFile
from ehr_gateway.bulk_data.request import PARQUET
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.negotiation import fhir_response

__all__ = [
    "EXPORT_PATH",
    "accepted_response",
    "export_owner",
    "manifest_response",
    "progress_response",
]

EXPORT_PATH = "$export"
# Chosen: a store of some million records is ready by then.
_SECONDS_TO_WAIT = 1


def export_owner(context: RequestContext) -> Sequence[str | None]:
    """Return whose an export is; Forbidden for who may not take records in bulk."""
    subject = context.caller.subject
    if subject.role not in ("system", "patient"):
        raise Forbidden(
            "Exports are for an organisation's system, and for patients of their own record."
        )
    return [subject.login, subject.client, subject.organization, subject.patient]


def accepted_response(context: RequestContext, export: BulkExport) -> Response:
    """Answer that an export has begun, with the address of its status in Content-Location."""
    return fhir_response(b"", 202, headers={"Content-Location": _address(context, export)})


def progress_response(
    context: RequestContext, export: BulkExport, files: Sequence[ExportFile], page: int
) -> Response:
    """Answer that more files are looked for, with a page of the manifest that is whole already.

    How many there are follows from what the requester may see alone.
    """
    headers = {
        "X-Progress": f"{len(files)} files are ready, more are looked for",
        "Retry-After": str(_SECONDS_TO_WAIT),
    }
    # A page is whole when there is a file of the next one.
    if export.request.in_pages and any(file.page > page for file in files):
        return _manifest(context, export, files, page, 202, headers)
    return Response(status_code=202, headers=headers)


def manifest_response(
    context: RequestContext, export: BulkExport, files: Sequence[ExportFile], page: int
) -> Response:
    """Answer with the manifest, or one page of it."""
    expires = datetime.fromtimestamp(export.expires_ms / 1000, UTC)
    headers = {"Expires": format_datetime(expires, usegmt=True)}
    return _manifest(context, export, files, page, 200, headers)


def _manifest(
    context: RequestContext,
    export: BulkExport,
    files: Sequence[ExportFile],
    page: int,
    status: int,
    headers: dict[str, str],
) -> Response:
    address, request = _address(context, export), export.request
    here = [file for file in files if file.page == page] if request.in_pages else files
    body: dict[str, Any] = {
        "transactionTime": format_instant(export.started_ms),
        "request": f"{context.gateway.settings.base_url}{request.url}",
        "requiresAccessToken": True,
        "outputFormat": request.output_format,
    }
    if request.by_patient:
        body["outputOrganizedBy"] = "Patient"
    body |= {"output": [], "deleted": [], "error": []}
    for file in here:
        kind = file.part.line_type
        entry = {"type": kind} if kind else {}
        is_parquet = request.output_format == PARQUET and file.part.section == "output"
        name = f"{file.number}.{kind or 'Patient'}.{'parquet' if is_parquet else 'ndjson'}"
        body[file.part.section].append({**entry, "url": f"{address}/files/{name}"})
    if request.in_pages and any(file.page > page for file in files):
        body["link"] = [{"relation": "next", "url": f"{address}/manifests/{page + 1}"}]
    headers = {**headers, "Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(orjson.dumps(body), status, headers=headers)


def _address(context: RequestContext, export: BulkExport) -> str:
    return f"{context.gateway.settings.fhir_base}/{EXPORT_PATH}/{export.id}"
