"""Files in a request (multipart/form-data, RFC 7578), written as they arrive."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol

import anyio
import anyio.to_thread
from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from ehr_fhir.errors import Invalid, Unavailable

__all__ = ["FileSink", "is_multipart", "receive_files"]

_MULTIPART = "multipart/form-data"
# Between two pieces, and for all of them. Chosen: four gigabytes at a megabyte a second.
_IDLE_SECONDS, _MOST_SECONDS = 60.0, 3600.0
# Of the headers of one part; a disposition is some hundred bytes.
_MOST_HEADER_BYTES = 4096


class FileSink(Protocol):
    """What takes one file's bytes."""

    def write(self, sent: bytes) -> None:
        """Take a piece."""

    def finish(self) -> None:
        """Take the end: the file is whole."""


def is_multipart(request: Request) -> bool:
    """Say whether a request sends files."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == _MULTIPART


async def receive_files(request: Request, open_sink: Callable[[str, ExitStack], FileSink]) -> None:
    """Read the parts of a body; `open_sink` takes the name of each and the stack that closes it.

    Raises Invalid where the body is not what it says, and Unavailable where it comes too slowly.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:
        raise Invalid("The Content-Type of the files has no boundary of 1 to 70 characters.")
    with ExitStack() as stack:
        parts = _Parts(boundary, lambda name: open_sink(name, stack))
        try:
            with anyio.fail_after(_MOST_SECONDS):
                await _read_stream(request, parts)
        except TimeoutError as error:
            raise Unavailable("The files came too slowly.") from error
        parts.check_end()


async def _read_stream(request: Request, parts: _Parts) -> None:
    pieces = request.stream().__aiter__()
    while True:
        with anyio.fail_after(_IDLE_SECONDS):
            try:
                piece = await pieces.__anext__()
            except StopAsyncIteration:
                return
        if piece:
            # On a thread: it unpacks, and writes to the disk.
            await anyio.to_thread.run_sync(parts.write, piece)


class _Parts:
    """The parts of a body, each handed to its sink."""

    def __init__(self, boundary: bytes, open_sink: Callable[[str], FileSink]) -> None:
        self._open_sink = open_sink
        self._sink: FileSink | None = None
        self._field, self._value, self._disposition = b"", b"", b""
        self._has_ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._add_to_field,
                "on_header_value": self._add_to_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_file,
                "on_part_data": self._write_data,
                "on_part_end": self._end_file,
                "on_end": self._end,
            },
        )

    def write(self, piece: bytes) -> None:
        """Parse a piece of the body."""
        try:
            self._parser.write(piece)
        except MultipartParseError as error:
            raise Invalid("The body is not multipart/form-data.") from error

    def check_end(self) -> None:
        """Raise Invalid if the body ended before its last part did."""
        if not self._has_ended:
            raise Invalid("The body ends before its last part does.")

    def _add_to_field(self, data: bytes, start: int, end: int) -> None:
        self._field = _extend(self._field, data[start:end])

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value = _extend(self._value, data[start:end])

    def _end_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _begin_file(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._disposition = b""
        self._sink = self._open_sink(options.get(b"name", b"").decode("latin-1"))

    def _write_data(self, data: bytes, start: int, end: int) -> None:
        assert self._sink is not None  # noqa: S101 - headers come first
        self._sink.write(data[start:end])

    def _end_file(self) -> None:
        assert self._sink is not None  # noqa: S101 - headers come first
        self._sink.finish()
        self._sink = None

    def _end(self) -> None:
        self._has_ended = True


def _extend(header: bytes, more: bytes) -> bytes:
    if len(header) + len(more) > _MOST_HEADER_BYTES:
        raise Invalid("A header of a part is too long.")
    return header + more
