"""Files of secrets, which their owner alone may read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["create_private_file"]


def create_private_file(path: Path, content: bytes) -> None:
    """Write a file on disk, unless there is one by now; its folder is made when missing."""
    # mkstemp makes the file 0600; link() refuses to replace, so of two first starts one wins.
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
