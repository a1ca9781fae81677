"""Scan of a whole data folder for the texts of somebody who was erased.

What is found, and where, is a fact about files; nothing of what was sought is in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ehr_etl.erasure.byte_search import ByteSearch
from ehr_etl.erasure.file_contents import read_contents

__all__ = ["FolderScan", "ScannedPlace", "scan_folder"]


@dataclass
class ScannedPlace:
    """A folder, or a file, of the data folder: what was scanned of it and what was found."""

    name: str
    files: int = 0
    bytes_scanned: int = 0
    # Files that hold something, by their path within the data folder.
    found_in: dict[str, int] = field(default_factory=dict)


@dataclass
class FolderScan:
    """What was scanned, place by place, and which of the sought texts were found."""

    places: dict[str, ScannedPlace] = field(default_factory=dict)
    # Which texts each file has; for the caller alone.
    hits: dict[str, set[str]] = field(default_factory=dict)
    # Files that cannot be read.
    unreadable: list[str] = field(default_factory=list)

    @property
    def files(self) -> int:
        """How many files were scanned."""
        return sum(place.files for place in self.places.values())

    @property
    def bytes_scanned(self) -> int:
        """How many bytes, decompressed ones included."""
        return sum(place.bytes_scanned for place in self.places.values())

    def add_stream(
        self, place: str, name: str, pieces: Iterable[bytes], search: ByteSearch
    ) -> None:
        """Scan what a file, or a table of a server, holds."""
        scanned = self.places.setdefault(place, ScannedPlace(place))
        hits, size = search.search_stream(pieces)
        scanned.files += 1
        scanned.bytes_scanned += size
        if hits:
            scanned.found_in[name] = len(hits)
            self.hits.setdefault(name, set()).update(hits)


def scan_folder(
    data: Path, search: ByteSearch, *, left_out: Mapping[str, str] | Collection[str] = ()
) -> FolderScan:
    """Scan every file below a data folder, but those left out, by their path within it."""
    scan = FolderScan()
    for path in _walk(data, set(left_out), data):
        name = str(path.relative_to(data))
        parts = Path(name).parts
        # The lake's tables are places of their own.
        place = "/".join(parts[:2]) if parts[0] in ("lake", "research", "mlflow") else parts[0]
        names = search.search(name.encode())
        if names:
            scan.hits.setdefault(name, set()).update(names)
        try:
            scan.add_stream(place, name, read_contents(path), search)
        except FileNotFoundError:
            # Deleted since it was listed.
            continue
        except Exception as error:
            scan.unreadable.append(f"{name} ({type(error).__name__})")
    return scan


def _walk(folder: Path, left_out: set[str], data: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if str(path.relative_to(data)) in left_out:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, left_out, data)
        elif path.is_file():
            yield path
