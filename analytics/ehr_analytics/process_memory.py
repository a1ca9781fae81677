"""Memory of this process as the kernel counts it against `RLIMIT_DATA`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_data_size"]


def read_data_size() -> int:
    """Return the bytes of this process that `RLIMIT_DATA` counts; 0 on a machine without /proc."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return 0
    sizes = (line.split()[1] for line in status.splitlines() if line.startswith("VmData:"))
    return int(next(sizes, "0")) * 1024
