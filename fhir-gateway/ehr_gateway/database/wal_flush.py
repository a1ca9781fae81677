"""SQLite's write-ahead log as a file: what is in it is put on disk once for all who wait.

SQLite can wait for the disk itself (`synchronous = FULL`), but does so while the writer's lock is
held. Here the lock is free by then: whoever comes first flushes for all that is committed, those
who come meanwhile share the next flush.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from ehr_fhir.errors import Unavailable

__all__ = ["WriteAheadLog"]


class WriteAheadLog:
    """The log beside one database file, in this process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._asked = 0
        self._done = 0

    def size(self) -> int:
        """Return its length in bytes; 0 before anything was flushed here."""
        return 0 if self._file is None else os.fstat(self._file).st_size

    def flush(self) -> None:
        """Return when all that was committed before the call is on disk."""
        with self._count:
            self._asked += 1
            mine = self._asked
        with self._turn:
            if self._done >= mine:
                return
            with self._count:
                covered = self._asked
            try:
                if (log := self._opened()) is not None:
                    os.fdatasync(log)
            except OSError as error:
                text = "The disk did not take the write. Whether it is kept is not known."
                raise Unavailable(text) from error
            self._done = covered

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self) -> int | None:
        """Return the log as it is now: it is made anew when all had closed the database."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None  # nothing was written yet
        if self._file is not None and os.fstat(self._file).st_ino == found.st_ino:
            return self._file
        self.close()
        self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        # A new file is on disk when its folder is, too.
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return self._file
