"""Files of secrets, readable by their owner alone (mode 0600)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["create_private_file"]


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
