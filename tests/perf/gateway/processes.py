"""Processor time of processes, from `/proc`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["processor_ms"]

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def processor_ms(pids: Iterable[int]) -> float:
    """Return the milliseconds of processor time that processes have spent, user and system."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            # It has ended meanwhile.
            continue
        total += int(fields[11]) + int(fields[12])
    return total * _TICK_MS
