"""SQLite's write-ahead log as a file: one flush to disk for all who wait for it.

SQLite can flush it itself (`synchronous = FULL`), but does so while the writer's lock is held. Here
the lock is free by then: the first caller flushes all that is committed so far, and those who come
meanwhile share the next flush.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from ehr_fhir.errors import Unavailable

__all__ = ["WriteAheadLog"]


class WriteAheadLog:
    """The log beside one database file, as this process flushes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._flush_lock = threading.Lock()
        # Callers are numbered as they come; the second number is the last whose commit is on disk.
        self._count_lock = threading.Lock()
        self._last_caller = 0
        self._last_flushed = 0

    def size(self) -> int:
        """Return its length in bytes; 0 before the first flush here."""
        return 0 if self._descriptor is None else os.fstat(self._descriptor).st_size

    def flush(self) -> None:
        """Return when all that was committed before the call is on disk."""
        with self._count_lock:
            self._last_caller += 1
            caller = self._last_caller
        with self._flush_lock:
            if self._last_flushed >= caller:
                return
            with self._count_lock:
                covered = self._last_caller
            try:
                if (descriptor := self._open_current()) is not None:
                    os.fdatasync(descriptor)
            except OSError as error:
                text = "The disk did not take the write. Whether it is kept is not known."
                raise Unavailable(text) from error
            self._last_flushed = covered

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open_current(self) -> int | None:
        """Return the descriptor of the log in use, None before the first write.

        SQLite removes the log when the last connection closes, and creates another one later.
        """
        try:
            current = self._path.stat()
        except FileNotFoundError:
            return None
        if self._descriptor is not None and os.fstat(self._descriptor).st_ino == current.st_ino:
            return self._descriptor
        self.close()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        # A new file is on disk only when its folder's entry is.
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return self._descriptor
