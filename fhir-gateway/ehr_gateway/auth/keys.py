"""The keys that sign tokens: a JWK set in one file, made at first start, its owner's alone to read.

The first key signs; all of them verify, so that a new key may be put in front of an old one.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey, KeySet

from ehr_fhir.errors import Fault

_FILE = "signing.jwks.json"


class Keys:
    """The signing key and the keys that verify."""

    def __init__(self, keys: list[ECKey]) -> None:
        self.signing = keys[0]
        self.verifying = KeySet(list(keys))

    def public(self) -> dict[str, Any]:
        """Return the JWK set for `/oauth/jwks`: public parts alone."""
        return {"keys": [key.as_dict(private=False) for key in self.verifying.keys]}


def open_keys(folder: Path) -> Keys:
    """Read the keys of a data folder; make them when there are none.

    Needs the right to read the file: who has it can sign tokens.
    """
    path = folder / _FILE
    if not path.exists():
        _write_new(path)
    try:
        stored = json.loads(path.read_bytes())["keys"]
        return Keys([ECKey.import_key(key) for key in stored])
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise Fault(f"The key file {_FILE} cannot be read: {type(error).__name__}.") from error


def secret_key(folder: Path) -> str:
    """Return the secret that seals log-in forms; make it when there is none."""
    path = folder / "forms.key"
    if not path.exists():
        _place(path, os.urandom(32).hex().encode())
    return path.read_text("ascii")


def _write_new(path: Path) -> None:
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
    _place(path, json.dumps({"keys": [key.as_dict(private=True)]}).encode())


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
