"""An object store as a file system of pyarrow's, by way of delta-rs's own client."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from deltalake.fs import DeltaStorageHandler

__all__ = ["ObjectStorage"]


class ObjectStorage(DeltaStorageHandler):
    """delta-rs's handler, which takes what pyarrow writes.

    pyarrow hands over buffers, where delta-rs 1.6 takes bytes alone.
    """

    def open_output_stream(self, path: str, metadata: dict[str, str] | None = None) -> Any:
        """Open a file to be written."""
        return pa.PythonFile(_ByteStream(self._handler.open_output_stream(path, metadata)))


class _ByteStream:
    """A file that is written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        # What pa.PythonFile asks for.
        self.tell, self.close, self.flush = stream.tell, stream.close, stream.flush

    @property
    def closed(self) -> bool:
        return bool(self._stream.closed)

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def write(self, content: Any) -> int:
        return int(self._stream.write(bytes(content)))
