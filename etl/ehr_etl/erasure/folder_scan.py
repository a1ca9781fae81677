"""Scan of a whole data folder, and of the lake's object store, for the texts of an erased person.

What is found, and where, is a fact about files; nothing of what was sought is in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ehr_etl.erasure.byte_search import ByteSearch
from ehr_etl.erasure.file_contents import read_contents, read_stored_contents
from ehr_etl.lake import Lake

__all__ = ["FolderScan", "ScannedPlace", "scan_folder", "scan_storage"]


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

    def add_name(self, place: str, name: str, search: ByteSearch) -> None:
        """Look at the name of a file or folder."""
        if hits := search.search(name.encode("utf-8", "surrogateescape")):
            self.places.setdefault(place, ScannedPlace(place)).found_in[name] = len(hits)
            self.hits.setdefault(name, set()).update(hits)

    def add_file(self, place: str, name: str, pieces: Iterable[bytes], search: ByteSearch) -> None:
        """Scan a file and its name; one that cannot be read is listed, and counts as found."""
        self.add_name(place, name, search)
        try:
            self.add_stream(place, name, pieces, search)
        except FileNotFoundError:
            # Deleted since it was listed.
            return
        except Exception as error:
            self.unreadable.append(f"{name} ({type(error).__name__})")

    def add_stream(
        self, place: str, name: str, pieces: Iterable[bytes], search: ByteSearch
    ) -> None:
        """Scan what a file, or a table of a server, holds."""
        scanned = self.places.setdefault(place, ScannedPlace(place))
        hits, size = search.search_stream(pieces)
        scanned.files += 1
        scanned.bytes_scanned += size
        if hits:
            scanned.found_in[name] = max(len(hits), scanned.found_in.get(name, 0))
            self.hits.setdefault(name, set()).update(hits)


def scan_folder(
    scan: FolderScan,
    data: Path,
    search: ByteSearch,
    *,
    within: str = "",
    left_out: Collection[str] = (),
) -> None:
    """Scan every file below a folder, but those left out, by their path within it.

    Folders that stand elsewhere, by a symbolic link, are part of it. Names in the scan begin with
    `within`, for a folder that lies outside of the data folder.
    """
    for path in _walk(data, set(left_out), data, set()):
        name = f"{within}{path.relative_to(data)}"
        parts = Path(name).parts
        # The lake's tables are places of their own.
        place = "/".join(parts[:2]) if parts[0] in ("lake", "research", "mlflow") else parts[0]
        if within.startswith("/"):
            place = "temporary files"
        if path.is_dir():
            scan.add_name(place, name, search)
        else:
            scan.add_file(place, name, read_contents(path), search)


def scan_storage(
    scan: FolderScan, lake: Lake, search: ByteSearch, tables: Collection[str] = ()
) -> None:
    """Scan every object of the store that a lake's tables are in; `tables` are to be among them.

    Each object is read from the store itself, as the store has it now.
    """
    import pyarrow.fs

    filesystem, root = lake.open_storage()
    selector = pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True)
    seen: set[str] = set()
    for info in filesystem.get_file_info(selector):
        if info.is_file:
            seen.add(info.path)
            name = f"{lake.tables_url}/{info.path}"
            place = f"{lake.tables_url}/{info.path.partition('/')[0]}"
            scan.add_file(place, name, read_stored_contents(filesystem, info.path), search)
    for table in tables:
        if not any(path.startswith(f"{table}/_delta_log/") for path in seen):
            scan.unreadable.append(f"{lake.tables_url}/{table} (no object of it is listed)")


def _walk(folder: Path, left_out: set[str], data: Path, above: set[Path]) -> Iterator[Path]:
    """Yield the files and folders below a folder; a link back to a folder above ends there."""
    above = {*above, folder.resolve()}
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        # Deleted since it was listed.
        return
    for path in paths:
        if str(path.relative_to(data)) in left_out:
            continue
        if path.is_dir():
            yield path
            if path.resolve() not in above:
                yield from _walk(path, left_out, data, above)
        elif path.is_file():
            yield path
