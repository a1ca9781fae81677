"""Files of records and secrets, readable by their owner alone (mode 0600)."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["create_private_file", "restrict_to_owner"]

# The bits of a mode that give rights to group and others.
_RIGHTS_OF_OTHERS = 0o077


def create_private_file(path: Path, content: bytes) -> None:
    """Create a file durably unless it exists; its folder is created if missing."""
    # mkstemp creates the file with mode 0600; link() refuses to replace, so that of two processes
    # that start first at once one wins.
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(name)


def restrict_to_owner(path: Path) -> None:
    """Take the rights of others from a file; do nothing if it is missing or another user's."""
    with suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _RIGHTS_OF_OTHERS:
            path.chmod(mode & ~_RIGHTS_OF_OTHERS)
