"""The folder of one load: its spools and scratch database, which hold records.

It is locked as long as the load runs. What a load that was killed left behind is therefore known,
and removed by the next load or server start.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ehr_gateway.file_lock import open_locked

__all__ = ["clear_leftovers", "find_leftovers", "open_work_folder"]

_PREFIX = "load-"


@contextmanager
def open_work_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for one load, and remove it and what earlier loads left behind."""
    clear_leftovers(parent)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = _try_lock(folder)
        if lock is not None and folder.exists():
            break
        # Another load has cleared it away before it was locked.
        if lock is not None:
            os.close(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def find_leftovers(parent: Path) -> list[Path]:
    """Return the folders of loads that do not run any more."""
    leftovers = []
    for folder in sorted(parent.glob(f"{_PREFIX}*")):
        if folder.is_dir() and (lock := _try_lock(folder)) is not None:
            os.close(lock)
            leftovers.append(folder)
    return leftovers


def clear_leftovers(parent: Path) -> None:
    """Remove the folders of loads that do not run any more."""
    for folder in find_leftovers(parent):
        shutil.rmtree(folder, ignore_errors=True)


def _try_lock(folder: Path) -> int | None:
    """Return the descriptor that holds the lock of a folder; None where a load has it."""
    try:
        return open_locked(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
