"""Tables of text files: with a line of names, or without."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from ehr_fhir.errors import NotFound

__all__ = ["find_file", "read_csv", "read_tabs"]


def find_file(folder: Path, pattern: str) -> Path:
    """Return the only file of a folder, at any depth, whose name matches; raise NotFound."""
    found = sorted(folder.rglob(pattern)) if folder.is_dir() else []
    if len(found) != 1:
        raise NotFound(f"{folder} has {len(found)} files of the name {pattern}; it needs one.")
    return found[0]


def read_csv(path: Path, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file by the names of its first line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file, delimiter=delimiter)


def read_tabs(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a file with tabs and without quotes, by the names of its first line."""
    with path.open(encoding="utf-8", newline="") as file:
        names = file.readline().rstrip("\r\n").split("\t")
        for line in file:
            yield dict(zip(names, line.rstrip("\r\n").split("\t"), strict=True))
