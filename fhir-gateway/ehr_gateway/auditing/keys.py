"""The key that signs checkpoints: 32 bytes in a file that its owner alone may read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ehr_fhir.errors import Fault
from ehr_privacy.audit import Signer

__all__ = ["open_signer"]

_FILE = "audit.key"
_SEED_BYTES = 32


def open_signer(keys: Path, origin: str) -> Signer:
    """Read the key of a folder of keys; make it when there is none."""
    path = keys / _FILE
    if not path.exists():
        _place(path, os.urandom(_SEED_BYTES))
    try:
        return Signer(origin, path.read_bytes())
    except (OSError, ValueError) as error:
        raise Fault(f"The key file {_FILE} cannot be read: {type(error).__name__}.") from error


def _place(path: Path, content: bytes) -> None:
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
