"""Lock of a lake's folder: whoever holds it is the one who writes tables."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from ehr_etl.lake import Lake
from ehr_fhir.errors import Conflict

__all__ = ["hold_writer_lock"]


@contextmanager
def hold_writer_lock(lake: Lake) -> Iterator[None]:
    """Hold the lock while the block runs; Conflict when another process has it.

    The system takes it from a process that ends, however it ends.
    """
    lake.root.mkdir(parents=True, exist_ok=True)
    with lake.lock_file.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict("Another process is writing this lake.") from error
        yield
