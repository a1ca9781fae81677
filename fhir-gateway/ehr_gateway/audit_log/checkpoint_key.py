"""The Ed25519 key that signs checkpoints: a 32-byte seed in a file that its owner alone may read.

Of its own, apart from the keys of tokens: it is not rotated, since witnesses know its public half.
"""

from __future__ import annotations

import os
from pathlib import Path

from ehr_fhir.errors import Fault
from ehr_gateway.private_file import create_private_file
from ehr_privacy.audit import Signer

__all__ = ["open_signer"]

_FILE = "audit.key"
_SEED_BYTES = 32


def open_signer(keys: Path, origin: str) -> Signer:
    """Read the key of a folder of keys; generate it if there is none."""
    path = keys / _FILE
    if not path.exists():
        create_private_file(path, os.urandom(_SEED_BYTES))
    try:
        return Signer(origin, path.read_bytes())
    except (OSError, ValueError) as error:
        raise Fault(f"The key file {_FILE} cannot be read: {type(error).__name__}.") from error
