"""Manifest of a backup: the encrypted files that belong to it, with their sizes and checksums.

The manifest is signed and not encrypted, so anybody can verify that a backup is complete. The names
of the files and the state of the store are in the encrypted contents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ehr_fhir.errors import Unprocessable

__all__ = ["Contents", "Manifest", "SealedFile", "StoredFile"]

# The version of both JSON forms. The names of the fields below are their keys.
_FORMAT = 1


@dataclass(frozen=True)
class SealedFile:
    """An encrypted file in the backup folder: its size in bytes and its SHA-256 in hexadecimal."""

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> SealedFile:
        """Measure content that is to be written."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """The manifest of one complete backup."""

    name: str
    # When its database was copied, ISO 8601 UTC.
    at: str
    # SHA-256 of the manifest before it in the folder, empty for the first.
    previous: str
    contents: SealedFile
    # Each piece by its name, an HMAC of its content before encryption.
    pieces: Mapping[str, SealedFile]
    # What the backup does not hold, a phrase each.
    left_out: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON, as it is signed and stored."""
        pieces = {name: [file.size, file.sha256] for name, file in sorted(self.pieces.items())}
        values = {"format": _FORMAT, **asdict(self), "pieces": pieces}
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Parse a manifest; raise Unprocessable if it is damaged or of a later version."""
        values = _parse(content)
        try:
            return cls(
                values["name"],
                values["at"],
                values["previous"],
                SealedFile(**values["contents"]),
                {name: SealedFile(*file) for name, file in values["pieces"].items()},
                tuple(values["left_out"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise Unprocessable("A manifest of the backup is damaged.") from error


@dataclass(frozen=True)
class StoredFile:
    """A file that was backed up: its content is that of its pieces, in order."""

    # Relative to the data folder; `database.dump` for a PostgreSQL dump.
    path: str
    # Permission bits, size in bytes, and SHA-256 of the whole content.
    mode: int
    size: int
    sha256: str
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """The contents of a backup: its files, and the state of the store that they hold."""

    # "sqlite" or "postgresql".
    database: str
    # The store's id and its epoch.
    store: str
    epoch: str
    # The last position of the change feed, and the number of events in the audit log.
    position: int
    audit_size: int
    # The newest journal entry that the store includes. A restore of an earlier backup knows by it
    # how long the journal has to be.
    journal_number: int
    # The journal's folder, where a restore looks for it by default.
    journal: str
    settings: Mapping[str, Any]
    files: tuple[StoredFile, ...]

    def to_bytes(self) -> bytes:
        """Return the contents as JSON, to be encrypted."""
        return json.dumps({"format": _FORMAT, **asdict(self)}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Contents:
        """Parse decrypted contents."""
        values = _parse(content)
        del values["format"]
        files = tuple(
            StoredFile(**{**file, "pieces": tuple(file["pieces"])}) for file in values.pop("files")
        )
        return cls(**values, files=files)


def _parse(content: bytes) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(content)
        is_known_format = values["format"] == _FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise Unprocessable("A manifest of the backup is damaged.") from error
    if not is_known_format:
        raise Unprocessable("The backup was made by a later version of eHR Commons: use that one.")
    return values
