"""The files of imports: in the data folder, for its owner alone, until the import has ended.

They are written as they arrive, unpacked, within the limits of the settings. A file whose name ends
in `.part` is not whole.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from ehr_fhir.errors import TooCostly, Unavailable
from ehr_gateway.bulk_data.imports import has_files
from ehr_gateway.gzip_decoder import GzipDecoder
from ehr_gateway.store.store import Store

__all__ = ["FileWriter", "ImportFolder", "remove_files_of_ended_imports"]

_FOLDER = "imports"
_GZIP_BEGINS = b"\x1f\x8b"


class ImportFolder:
    """The folder of one import's files."""

    def __init__(self, data: Path, import_id: str, most_bytes: int) -> None:
        self.path = data / _FOLDER / import_id
        # How many bytes the files may still have, unpacked.
        self.bytes_left = most_bytes - self._count_bytes()

    def create(self) -> None:
        """Make the folder."""
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        self.path.mkdir(mode=0o700)

    def remove(self) -> None:
        """Remove the folder with its files."""
        shutil.rmtree(self.path, ignore_errors=True)

    def file(self, number: int, kind: str) -> Path:
        """Return the path of an input's file, whether or not it is there."""
        # The loader takes directories of people and places first, by this beginning.
        return self.path / f"{kind}.{number}.ndjson"

    def _count_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.path.glob("*.ndjson"))


class FileWriter:
    """Writes one file of an import, unpacked if it is gzip; it is there when it is whole."""

    def __init__(self, folder: ImportFolder, path: Path) -> None:
        self._folder, self._path = folder, path
        self._part = path.with_name(f"{path.name}.part")
        self._decoder: GzipDecoder | None = None
        self._begin = b""
        self._has_begun = False

    def __enter__(self) -> Self:
        self._file = self._part.open("wb")
        return self

    def write(self, sent: bytes) -> None:
        """Write a piece; raise TooCostly when the import's files are larger than they may be."""
        if not self._has_begun:
            # What is packed tells by its first two bytes; no line of JSON begins so.
            self._begin += sent
            if len(self._begin) < len(_GZIP_BEGINS):
                return
            sent, self._has_begun = self._begin, True
            if sent.startswith(_GZIP_BEGINS):
                self._decoder = GzipDecoder()
        self._write(sent)

    def finish(self) -> None:
        """Let the file be there; Invalid if it ended too early."""
        if not self._has_begun:
            self._write(self._begin)
        if self._decoder is not None:
            self._decoder.check_end()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.rename(self._path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _write(self, sent: bytes) -> None:
        left = self._folder.bytes_left
        piece = sent if self._decoder is None else self._decoder.decode(sent, left + 1)
        if len(piece) > left:
            raise TooCostly("The files of the import are larger than the setting import_max_mb.")
        self._folder.bytes_left -= len(piece)
        try:
            self._file.write(piece)
        except OSError as error:
            raise Unavailable("The server has no room for the files of an import.") from error


def remove_files_of_ended_imports(store: Store, data: Path) -> None:
    """Remove the folders of imports that have ended, or of which nothing is known."""
    for folder in sorted((data / _FOLDER).glob("*")):
        if not has_files(store, folder.name):
            shutil.rmtree(folder, ignore_errors=True)
