"""Bulk exports: their status, their manifest, their files, and how they are cancelled.

Each request is judged by its own token. A file's lines are read as they are sent: what is closed
between the manifest and the download, or in the middle of it, is not in it.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import anyio
import anyio.to_thread
from fastapi.responses import Response, StreamingResponse

from ehr_fhir.errors import NotFound, Unavailable
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.append import RowValues
from ehr_gateway.audit_log.listed_patients import ListDisclosure, ListEntry, build_list_rows
from ehr_gateway.audit_log.reasons import reason_without_grants
from ehr_gateway.bulk_data.exports import (
    BulkExport,
    cancel_export,
    continue_export,
    find_export,
    find_file,
    list_files,
)
from ehr_gateway.bulk_data.parquet_rows import ParquetEncoder
from ehr_gateway.bulk_data.reader import ExportReader, LineChunk
from ehr_gateway.bulk_data.request import NDJSON, PARQUET
from ehr_gateway.bulk_data.slices import ExportSlice
from ehr_gateway.deadline import Deadline, deadline_of
from ehr_gateway.http.authentication import RequestContext, renew_access
from ehr_gateway.http.bulk_exports import (
    EXPORT_PATH,
    export_owner,
    manifest_response,
    progress_response,
)
from ehr_gateway.http.content_coding import accepts_gzip
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.threads import release_place, take_place

__all__ = ["cancel_bulk_export", "read_bulk_file", "read_bulk_manifest", "read_bulk_status"]

# For how long one request looks for files. Chosen: a client that asks waits no longer.
_STEP_SECONDS = 1.0
# By when one chunk is read. Chosen: a hundred times what it takes.
_CHUNK_SECONDS = 60.0
# While the server is overloaded a download waits, since others may be in a hurry.
_PAUSE_SECONDS = 0.25
_MOST_PAUSES = 240
_FILE_NAME = re.compile(r"([1-9][0-9]{0,8})(?:\.[A-Za-z]{1,64}\.(?:ndjson|parquet))?")
_GZIP = 16 + zlib.MAX_WBITS


def read_bulk_status(context: RequestContext, export_id: str) -> Response:
    """Answer how far an export is: 202 while its files are looked for, then its manifest."""
    return _answer_manifest(context, export_id, 1)


def read_bulk_manifest(context: RequestContext, export_id: str, page: str) -> Response:
    """Answer with a later page of the manifest."""
    if not (page.isascii() and page.isdigit() and len(page) < 10):
        raise NotFound("The manifest has no such page.")
    return _answer_manifest(context, export_id, int(page))


def cancel_bulk_export(context: RequestContext, export_id: str) -> Response:
    """Cancel an export, or give up what is left of it."""
    audit_context, export = _begin(context, export_id)
    cancel_export(context.gateway.store, export.id)
    context.add_audit_entry(recorder.build_event_rows(audit_context, None))
    return fhir_response(b"", 202)


def read_bulk_file(context: RequestContext, export_id: str, name: str) -> Response:
    """Answer with the lines of a file that the requester may see now."""
    _, export = _begin(context, export_id)
    match = _FILE_NAME.fullmatch(name)
    if match is None:
        raise NotFound("The export has no such file.")
    file = find_file(context.gateway.store, export.id, int(match[1]))
    kind = file.part.type
    kinds = [kind] if kind is not None else list(export.request.types)
    context.access.require_scope("search", *kinds)
    # As of a search: so it is told to the patients whose records it holds.
    audit_context = context.begin_audit(
        "search-type" if kind else "search-system", f"{kind or ''}?{EXPORT_PATH}"
    )
    download = _Download(context, audit_context, export, file.part)
    first = download.read_chunk()
    if kind and file.part.section == "output" and export.request.output_format == PARQUET:
        return _LinesResponse(download, first, ParquetEncoder(kind), PARQUET)
    accepted = ",".join(context.request.headers.getlist("accept-encoding"))
    encoder = _NdjsonEncoder(is_compressed=accepts_gzip(accepted))
    return _LinesResponse(download, first, encoder, NDJSON)


def _begin(context: RequestContext, export_id: str) -> tuple[recorder.AuditContext, BulkExport]:
    audit_context = context.begin_audit("operation", f"{EXPORT_PATH}/{export_id}"[:200])
    owner = export_owner(context)
    export = find_export(context.gateway.store, owner, export_id, context.access.now_ms)
    return audit_context, export


def _answer_manifest(context: RequestContext, export_id: str, page: int) -> Response:
    audit_context, export = _begin(context, export_id)
    context.access.require_scope("search", *export.request.types)
    store = context.gateway.store
    export = continue_export(store, context.access, export, _STEP_SECONDS)
    files = list_files(store, export.id)
    if page > max((file.page for file in files), default=1):
        raise NotFound("The manifest has no such page.")
    context.add_audit_entry(recorder.build_event_rows(audit_context, None))
    if export.progress is not None:
        return progress_response(context, export, files, page)
    return manifest_response(context, export, files, page)


@dataclass
class _Download:
    """One download: reads its chunks, and says of each whom it discloses for the first time."""

    context: RequestContext
    audit_context: recorder.AuditContext
    export: BulkExport
    part: ExportSlice
    # Data domains and reasons that are on record for this download, by patient.
    recorded: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    has_begun: bool = False

    def __post_init__(self) -> None:
        store = self.context.gateway.store
        self._reader = ExportReader(store, self.export.request, self.part)

    def read_chunk(self) -> tuple[LineChunk, list[RowValues]]:
        """Read the next chunk by the rights of this moment, with what goes on record of it."""
        access = renew_access(self.context)
        # A cancelled export gives no more, and an expired one neither.
        find_export(
            self.context.gateway.store, export_owner(self.context), self.export.id, access.now_ms
        )
        chunk = self._reader.read(access)
        return chunk, self._build_rows(chunk)

    def _build_rows(self, chunk: LineChunk) -> list[RowValues]:
        subject = self.audit_context.subject
        new: dict[str, set[tuple[str, str]]] = {}
        for row in chunk.rows:
            reason = reason_without_grants(subject, [(row.position, row.domain, row.author)]).code
            for patient in row.patients:
                shown = (row.domain or "", reason)
                if shown not in self.recorded.setdefault(patient, set()):
                    self.recorded[patient].add(shown)
                    new.setdefault(patient, set()).add(shown)
        entries = {
            patient: ListEntry(
                " ".join(sorted({domain for domain, _ in shown if domain})),
                # Of several, the one by which others' records were seen.
                max(reason for _, reason in shown),
            )
            for patient, shown in new.items()
        }
        if not entries and self.has_begun:
            return []
        self.has_begun = True
        if not entries:
            return recorder.build_event_rows(self.audit_context, None)
        return build_list_rows(self.audit_context, ListDisclosure(entries, {}))


class _LinesResponse(StreamingResponse):
    """Lines, sent chunk by chunk as they are read."""

    def __init__(
        self,
        download: _Download,
        first: tuple[LineChunk, list[RowValues]],
        encoder: _Encoder,
        media_type: str,
    ) -> None:
        headers = {"Cache-Control": "no-store"}
        if isinstance(encoder, _NdjsonEncoder):
            headers |= encoder.headers
        download.context.add_audit_entry(first[1])
        content = _send_chunks(download, first[0], encoder)
        super().__init__(content, headers=headers, media_type=media_type)


class _Encoder(Protocol):
    """Makes the bytes that are sent of lines."""

    def encode(self, lines: Sequence[bytes], *, is_last: bool) -> bytes:
        """Return the bytes of the next lines, and the end with the last ones."""


class _NdjsonEncoder:
    """Sends lines as they are, or compressed."""

    def __init__(self, *, is_compressed: bool) -> None:
        # Level 1, as of other responses.
        self._compressor = zlib.compressobj(1, wbits=_GZIP) if is_compressed else None

    @property
    def headers(self) -> dict[str, str]:
        """Return what the response says of it."""
        coding = {"Content-Encoding": "gzip"} if self._compressor else {}
        return {"Vary": "Accept-Encoding", **coding}

    def encode(self, lines: Sequence[bytes], *, is_last: bool) -> bytes:
        """Return the bytes of the next lines."""
        content = b"".join(b"%s\n" % line for line in lines)
        if self._compressor is None:
            return content
        packed = self._compressor.compress(content)
        return packed + self._compressor.flush() if is_last else packed


async def _send_chunks(
    download: _Download, chunk: LineChunk, encoder: _Encoder
) -> AsyncIterator[bytes]:
    batcher = download.context.gateway.audit_batcher
    while True:
        encode = partial(encoder.encode, chunk.lines, is_last=chunk.is_last)
        if content := await anyio.to_thread.run_sync(encode):
            yield content
        if chunk.is_last:
            return
        chunk, rows = await _read_next(download)
        if rows:
            # On record before the first of these bytes leaves.
            await batcher.write([rows])


async def _read_next(download: _Download) -> tuple[LineChunk, list[RowValues]]:
    """Read a chunk on a thread, when there is room for it."""
    request, threads = download.context.request, download.context.gateway.threads
    for _ in range(_MOST_PAUSES):
        try:
            await take_place(request.scope, threads)
            break
        except Unavailable:
            await anyio.sleep(_PAUSE_SECONDS)
    try:
        with deadline_of(Deadline(time.monotonic() + _CHUNK_SECONDS)):
            return await anyio.to_thread.run_sync(download.read_chunk)
    finally:
        release_place(request.scope)
