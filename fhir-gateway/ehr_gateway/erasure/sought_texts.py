"""Texts by which a scan looks for an erased patient, sealed until the erasure is certified.

They are what is being erased, so they lie in a file of their own, encrypted under the key of
erasures, which is deleted when nothing of them is found anywhere any more.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

__all__ = ["SoughtTexts", "delete_sought_texts", "erasures_folder", "read_sought_texts",
           "save_sought_texts"]  # fmt: skip

_NONCE_BYTES = 12


@dataclass(frozen=True)
class SoughtTexts:
    """Patients, their records as `Type/id`, and the texts of what was erased."""

    patients: tuple[str, ...]
    records: tuple[str, ...]
    texts: tuple[str, ...]


def erasures_folder(data: Path) -> Path:
    """Return the folder of certificates, and of sealed texts while an erasure is under way."""
    return data / "erasures"


def save_sought_texts(
    folder: Path,
    key: bytes,
    erasure: str,
    *,
    patients: Collection[str],
    records: Collection[str],
    texts: Collection[str],
) -> None:
    """Seal the texts of an erasure durably, before anything is deleted."""
    plaintext = orjson.dumps(
        {"patients": sorted(patients), "records": sorted(records), "texts": sorted(texts)}
    )
    nonce = os.urandom(_NONCE_BYTES)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = folder / f"{erasure}.partial"
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(nonce + ChaCha20Poly1305(key).encrypt(nonce, plaintext, erasure.encode()))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(_path(folder, erasure))


def read_sought_texts(folder: Path, key: bytes, erasure: str) -> SoughtTexts | None:
    """Return the texts of an erasure; None when it was certified, or never begun."""
    path = _path(folder, erasure)
    if not path.exists():
        return None
    content = path.read_bytes()
    nonce, ciphertext = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
    values = orjson.loads(ChaCha20Poly1305(key).decrypt(nonce, ciphertext, erasure.encode()))
    return SoughtTexts(*(tuple(values[name]) for name in ("patients", "records", "texts")))


def delete_sought_texts(folder: Path, erasure: str) -> None:
    """Delete the texts of an erasure."""
    _path(folder, erasure).unlink(missing_ok=True)


def _path(folder: Path, erasure: str) -> Path:
    return folder / f"{erasure}.sealed"
