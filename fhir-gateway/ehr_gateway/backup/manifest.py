"""Manifest of one backup: which sealed files belong to it, with their checksums, signed.

It is in clear and tells sizes and checksums alone, so that anybody may check that a backup is
whole. What the files are (names, sizes, the state of the store) stands in the sealed contents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ehr_fhir.errors import Unprocessable

__all__ = ["Contents", "Manifest", "SealedFile", "StoredFile"]

_FORMAT = 1


@dataclass(frozen=True)
class SealedFile:
    """One file of the backup folder: size in bytes and SHA-256, in hexadecimal."""

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> SealedFile:
        """Describe what is to be written."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """One complete backup."""

    name: str
    # When its database was copied, ISO 8601 UTC.
    at: str
    # SHA-256 of the manifest before it in the folder, empty for the first.
    previous: str
    contents: SealedFile
    # By the name of the piece.
    pieces: Mapping[str, SealedFile]
    left_out: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Return the bytes that are signed and stored."""
        pieces = {name: [file.size, file.sha256] for name, file in sorted(self.pieces.items())}
        values = {"format": _FORMAT, **asdict(self), "pieces": pieces}
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Read a manifest; Unprocessable when it is none of ours."""
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
    """One file that was backed up, in pieces."""

    # Below the data folder, or `database` for a dump.
    path: str
    mode: int
    size: int
    sha256: str
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """What a backup holds."""

    # sqlite or postgresql
    database: str
    store: str
    epoch: str
    # The last position of the feed, and the audit log's length.
    position: int
    audit_size: int
    # The last entry of the journal that it has: a later backup's is known to have been written.
    journal_number: int
    # Where the journal lay, for a restore that is told of no other place.
    journal: str
    settings: Mapping[str, Any]
    files: tuple[StoredFile, ...]

    def to_bytes(self) -> bytes:
        """Return the bytes to be sealed."""
        return json.dumps({"format": _FORMAT, **asdict(self)}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Contents:
        """Read what was sealed."""
        values = _parse(content)
        del values["format"]
        files = tuple(
            StoredFile(**{**file, "pieces": tuple(file["pieces"])}) for file in values.pop("files")
        )
        return cls(**values, files=files)


def _parse(content: bytes) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(content)
        known = values["format"] == _FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise Unprocessable("A manifest of the backup is damaged.") from error
    if not known:
        raise Unprocessable("The backup was made by a later version of eHR Commons: use that one.")
    return values
