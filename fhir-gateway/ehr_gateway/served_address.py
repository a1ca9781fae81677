"""The address under which a data folder was last served, for commands that run beside the server.

`ehr token` signs for the server's own address (its issuer), which it cannot know where the address
was an option of `ehr up` or a variable of another shell.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["read_served_address", "record_served_address"]

_NAME = "served-address"


def read_served_address(data: Path) -> str | None:
    """Return the address without a final slash; None where the folder was never served."""
    try:
        return (data / _NAME).read_text("utf-8").strip() or None
    except FileNotFoundError:
        return None


def record_served_address(data: Path, base_url: str) -> None:
    """Record the address in the data folder, replacing another."""
    if read_served_address(data) == base_url:
        return
    # Replaced as a whole: another worker may be reading it.
    handle, name = tempfile.mkstemp(dir=data)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(base_url)
    os.replace(name, data / _NAME)
