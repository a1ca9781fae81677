"""Small files replaced whole: a reader, or the next run after a crash, never finds half of one."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["drop_partial_file", "replace_file"]


def replace_file(target: Path, content: bytes, *, is_durable: bool = False) -> None:
    """Put a file in the place of the one that is there, whole or not at all.

    A durable one is on the disk before it takes that place, so that a loss of power keeps it too.
    """
    partial = _partial_path(target)
    with partial.open("wb") as file:
        file.write(content)
        if is_durable:
            file.flush()
            os.fsync(file.fileno())
    partial.replace(target)


def drop_partial_file(target: Path) -> None:
    """Delete what a process that was killed wrote of a file and did not put in its place."""
    _partial_path(target).unlink(missing_ok=True)


def _partial_path(target: Path) -> Path:
    return target.with_suffix(".partial")
