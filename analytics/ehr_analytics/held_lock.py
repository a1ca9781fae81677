"""Whether a process holds a lock file: the operating system releases it however a process ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import closing
from pathlib import Path

__all__ = ["is_held"]


def is_held(path: Path) -> bool:
    """Return whether somebody holds the lock of a file; False without the file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    with closing(os.fdopen(descriptor)) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
