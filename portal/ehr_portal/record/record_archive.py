"""The whole record as a ZIP file of NDJSON and attachments, made while it is sent.

`$everything` is read page by page and each page is packed at once. What is held until the end is
what records refer to (organisations, people, medicines) and the names of records with attachments;
one attachment at a time is in memory. A ZIP file without its end is no ZIP file: one that was cut
off is never taken for the whole record.
"""

from __future__ import annotations

import io
import json
import mimetypes
import zipfile
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from typing import IO, Any, cast
from urllib.parse import urlsplit

import anyio.to_thread

from ehr_fhir.errors import Forbidden, Gone, NotFound
from ehr_fhir.json_text import parse, serialize
from ehr_portal.gateway.client import GatewayClient, Resource
from ehr_portal.record.documents import DocumentFile, find_attachments, load_file

__all__ = ["read_first_page", "stream_archive"]

# Records of one page. Chosen: half a megabyte, so that a page is packed within some hundredths of a
# second.
_PAGE_SIZE = "200"
_CONTENTS = "contents.json"


async def read_first_page(gateway: GatewayClient, patient: str) -> bytes:
    """Return the first page of `$everything`; raises what the gateway answers instead."""
    return await gateway.read_as_written(f"Patient/{patient}/$everything?_count={_PAGE_SIZE}")


async def stream_archive(
    gateway: GatewayClient, page: bytes, readme: str, made: datetime
) -> AsyncIterator[bytes]:
    """Yield the ZIP file of a record, given the first page of `$everything`.

    `record/` has a file for each type; `referred-to/` what these refer to; `attachments/` the
    documents and pictures; `readme.txt` what all this is. `contents.json` stands last, with the
    number of resources in each file, and of attachments that are there and that are not: they lie
    elsewhere, or were closed to the reader since.
    """
    archive = _Archive(made)
    archive.add_file("readme.txt", readme.encode())
    while True:
        following = await anyio.to_thread.run_sync(archive.add_page, page)
        yield archive.take()
        if not following:
            break
        page = await gateway.read_as_written(following)
    await anyio.to_thread.run_sync(archive.add_referred_to)
    yield archive.take()
    for kind, identity, expected in archive.with_attachments:
        packed = 0
        async for name, file in _load_attachments(gateway, kind, identity):
            await anyio.to_thread.run_sync(archive.add_file, name, file.content)
            packed += 1
            yield archive.take()
        archive.count_attachments(packed, expected)
    archive.close()
    yield archive.take()


async def _load_attachments(
    gateway: GatewayClient, kind: str, identity: str
) -> AsyncIterator[tuple[str, DocumentFile]]:
    """Yield the attachments of a record with the names of their files."""
    try:
        # Read once more, so that only names are kept meanwhile.
        resource = await gateway.read(kind, identity)
    except (Forbidden, Gone, NotFound):
        # Closed since it was listed.
        return
    for number, attachment in enumerate(find_attachments(resource), 1):
        file = await load_file(gateway, attachment)
        if file is not None:
            media_type = file.media_type.partition(";")[0].strip()
            ending = mimetypes.guess_extension(media_type) or ".bin"
            yield f"attachments/{kind}-{identity}-{number}{ending}", file


class _Archive:
    """A ZIP file that is written from its begin to its end; what is written is taken away."""

    def __init__(self, made: datetime) -> None:
        # Type and id of a record, and how many it had when it was listed.
        self.with_attachments: list[tuple[str, str, int]] = []
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(cast("IO[bytes]", self._sink), "w", zipfile.ZIP_DEFLATED)
        self._made = made.timetuple()[:6]
        self._open: tuple[str, IO[bytes]] | None = None
        self._counts: Counter[str] = Counter()
        # Lines by type and id of what is no patient's own.
        self._referred_to: dict[tuple[str, str], bytes] = {}

    def take(self) -> bytes:
        """Return the bytes that were written since the last call."""
        return self._sink.take()

    def add_page(self, page: bytes) -> str:
        """Write the records of a page; return the address of the next below /fhir/, or nothing."""
        bundle = parse(page)
        for entry in bundle.get("entry", ()):
            self._add_entry(entry)
        links = {str(link["relation"]): str(link["url"]) for link in bundle.get("link", ())}
        if "next" not in links:
            return ""
        # Only its path and query count, never its host.
        parts = urlsplit(links["next"])
        return f"{parts.path.rpartition('/fhir/')[2]}?{parts.query}"

    def add_referred_to(self) -> None:
        """Write what the records refer to."""
        for (kind, _), line in sorted(self._referred_to.items()):
            self._add_line(f"referred-to/{kind}.ndjson", line)
        self._referred_to.clear()

    def add_file(self, name: str, content: bytes) -> None:
        """Write a whole file."""
        self._close_member()
        self._zip.writestr(self._member(name), content, zipfile.ZIP_DEFLATED)

    def count_attachments(self, packed: int, expected: int) -> None:
        """Count the attachments of a record for the contents."""
        self._counts["attachments/"] += packed
        if packed < expected:
            self._counts["attachments that are not here"] += expected - packed

    def close(self) -> None:
        """Write the contents and the end."""
        contents = json.dumps(dict(sorted(self._counts.items())), indent=2)
        self.add_file(_CONTENTS, contents.encode())
        self._zip.close()

    def _add_entry(self, entry: Resource) -> None:
        resource = entry.get("resource", {})
        kind, identity = str(resource.get("resourceType")), str(resource.get("id"))
        if kind == "OperationOutcome":
            return
        line = serialize(resource)
        name = f"record/{kind}.ndjson"
        if name in self._counts and not self._is_open(name):
            # The Patient whose record it is comes first, others that it names come with their type.
            # Of two files of one name a ZIP file gives the last alone.
            name = f"record/{kind}-others.ndjson"
        if entry.get("search", {}).get("mode") == "include":
            self._referred_to[kind, identity] = line
            return
        self._add_line(name, line)
        attachments = [one for one in find_attachments(resource) if "data" in one or "url" in one]
        if attachments:
            self.with_attachments.append((kind, identity, len(attachments)))

    def _is_open(self, name: str) -> bool:
        return self._open is not None and self._open[0] == name

    def _add_line(self, name: str, line: bytes) -> None:
        if self._open is None or self._open[0] != name:
            self._close_member()
            self._open = (name, self._zip.open(self._member(name), "w"))
        self._open[1].write(line + b"\n")
        self._counts[name] += 1

    def _close_member(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _member(self, name: str) -> zipfile.ZipInfo:
        member = zipfile.ZipInfo(name, self._made)
        member.compress_type = zipfile.ZIP_DEFLATED
        return member


class _Sink(io.RawIOBase):
    """Takes bytes of a file that cannot be wound back."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """Say that it is written to."""
        return True

    def write(self, content: Any) -> int:
        """Keep bytes until they are taken."""
        self._parts.append(bytes(content))
        return len(content)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        taken, self._parts = b"".join(self._parts), []
        return taken
