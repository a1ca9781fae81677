"""Certificate of an erasure: what was scanned, how much, and that nothing was found.

It holds numbers and places, never a text that was sought, so it may be kept and shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ehr_etl.atomic_files import replace_file
from ehr_etl.erasure.folder_scan import FolderScan

__all__ = ["Certificate", "write_certificate"]


@dataclass(frozen=True)
class Certificate:
    """The result of one scan for one erasure."""

    erasure: str
    # When the scan ended, as an instant in UTC.
    at: str
    # How many texts were sought, and how many were not, since others' records have them too.
    texts: int
    shared_texts: int
    scan: FolderScan
    # Files with rows of the patient that were deleted or written anew, by place.
    swept: Mapping[str, int]
    not_scanned: Sequence[str]

    @property
    def found(self) -> int:
        """How many files hold something of the patient, or could not be read."""
        return len(self.scan.hits) + len(self.scan.unreadable)

    def to_json(self) -> dict[str, Any]:
        """Return the certificate as JSON."""
        return {
            "erasure": self.erasure,
            "at": self.at,
            "texts": self.texts,
            "shared_texts": self.shared_texts,
            "total": {
                "files": self.scan.files,
                "bytes": self.scan.bytes_scanned,
                "found": self.found,
            },
            "places": [
                {
                    "name": place.name,
                    "files": place.files,
                    "bytes": place.bytes_scanned,
                    "found": len(place.found_in),
                }
                for place in self.scan.places.values()
            ],
            "unreadable": self.scan.unreadable,
            "swept": dict(self.swept),
            "not_scanned": list(self.not_scanned),
        }


def write_certificate(folder: Path, certificate: Certificate) -> Path:
    """Keep a certificate durably; return its file."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = folder / f"{certificate.erasure}.json"
    content = orjson.dumps(certificate.to_json(), option=orjson.OPT_INDENT_2)
    replace_file(target, content, is_durable=True)
    return target
