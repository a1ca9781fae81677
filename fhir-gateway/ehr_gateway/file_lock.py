"""Lock a file against other processes (flock), with a bound on the wait or without waiting.

With a bound: locks that are held for milliseconds, since a holder that keeps one longer has frozen.
The writer's turn, which processes pass on thousands of times a second, has its own way
(`database.writer_turn`). Without waiting: locks that are held as long as a process works.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from ehr_fhir.errors import Unavailable

__all__ = ["lock_file", "open_locked"]

# Chosen: a thousand times as long as such a lock is held.
_WAIT_SECONDS = 2.0
_RETRY_SECONDS = 0.002


def lock_file(file: IO[bytes] | int) -> None:
    """Lock an open file until it is closed; raise Unavailable if another process keeps it."""
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= until:
                text = "Another process keeps a file locked; it may have stopped. Try again."
                raise Unavailable(text) from error
        time.sleep(_RETRY_SECONDS)


def open_locked(path: Path, flags: int) -> int | None:
    """Open and lock a file or folder; return its descriptor, None where another process has it.

    The lock ends when the descriptor is closed, or with the process.
    """
    descriptor = os.open(path, flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
