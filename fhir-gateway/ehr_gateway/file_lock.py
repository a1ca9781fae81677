"""Lock a file against other processes (flock), with a bound on the wait.

For locks that are held for milliseconds: a holder that keeps one longer has frozen. The writer's
turn, which processes pass on thousands of times a second, has its own way (`database.writer_turn`).
"""

from __future__ import annotations

import fcntl
import time
from typing import IO

from ehr_fhir.errors import Unavailable

__all__ = ["lock_file"]

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
