"""Read the files of a load as units of work, within bounded memory.

A unit is a run of NDJSON lines, or one JSON file with a Bundle or a resource.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from ehr_fhir.json_text import MAX_LINE_BYTES

__all__ = ["LoadReject", "Unit", "discover_files", "read_units"]

_NDJSON_SUFFIXES = (".ndjson", ".ndjson.gz")
_JSON_SUFFIXES = (".json", ".json.gz")
# Chosen: a unit takes a worker some tenths of a second, and a few units fit in memory.
_MAX_UNIT_LINES = 250
_MAX_UNIT_BYTES = 2 * 1024 * 1024
# A Bundle holds many resources, each within the limit of one.
MAX_JSON_FILE_BYTES = 512 * 1024 * 1024
# Files that others refer to are stored first, so that the feed has them first. The two names in
# lower case are Synthea's.
_LOADED_FIRST = ("hospitalInformation", "Organization", "Location", "practitionerInformation",
          "Practitioner", "PractitionerRole", "Medication", "Patient")  # fmt: skip


@dataclass(frozen=True)
class LoadReject:
    """What was not loaded and why; in a Bundle `line` is the number of the entry."""

    file: str
    line: int
    type: str | None
    id: str | None
    reason: str


@dataclass(frozen=True)
class Unit:
    """A unit of work: numbered lines, or the whole text of a JSON file as line 1."""

    file: str
    whole: bool
    lines: tuple[tuple[int, bytes], ...]
    # Addresses of this server: references below them are stored as relative ones.
    bases: tuple[str, ...] = ()
    # The type of every resource; any when empty.
    type: str = ""


def discover_files(paths: Sequence[Path]) -> tuple[list[Path], list[LoadReject]]:
    """Return the files below some paths in loading order, and a reject for each other file."""
    files: dict[Path, None] = {}
    rejects = []
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            if path.is_dir() and not file.is_file():
                continue
            if file.name.endswith((*_NDJSON_SUFFIXES, *_JSON_SUFFIXES)):
                files[file] = None
            else:
                text = "The name must end in .json, .ndjson, .json.gz or .ndjson.gz."
                rejects.append(LoadReject(str(file), 0, None, None, text))
    return sorted(files, key=_loading_order), rejects


def read_units(file: Path) -> Iterator[Unit | LoadReject]:
    """Yield the units of a file, and a reject for each line that is too long or unreadable."""
    try:
        with _open_file(file) as stream:
            if file.name.endswith(_JSON_SUFFIXES):
                yield _read_json_file(file, stream)
            else:
                yield from _read_ndjson(file, stream)
    except (OSError, EOFError, zlib.error) as error:
        fault = (
            "cannot be read" if isinstance(error, FileNotFoundError) else "is damaged or cut off"
        )
        yield LoadReject(str(file), 0, None, None, f"The file {fault}; what follows is not loaded.")


def _read_json_file(file: Path, stream: IO[bytes]) -> Unit | LoadReject:
    content = stream.read(MAX_JSON_FILE_BYTES + 1)
    if len(content) > MAX_JSON_FILE_BYTES:
        text = f"The file is larger than {MAX_JSON_FILE_BYTES >> 20} MiB. Send NDJSON instead."
        return LoadReject(str(file), 0, None, None, text)
    return Unit(str(file), True, ((1, content),))


def _read_ndjson(file: Path, stream: IO[bytes]) -> Iterator[Unit | LoadReject]:
    lines: list[tuple[int, bytes]] = []
    size = number = 0
    while line := stream.readline(MAX_LINE_BYTES + 2):
        number += 1
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            _skip_line(stream)
            text = f"The line is longer than {MAX_LINE_BYTES // 1024 // 1024} MiB."
            yield LoadReject(str(file), number, None, None, text)
            continue
        if line.strip():
            lines.append((number, line))
            size += len(line)
        if len(lines) >= _MAX_UNIT_LINES or size >= _MAX_UNIT_BYTES:
            yield Unit(str(file), False, tuple(lines))
            lines, size = [], 0
    if lines:
        yield Unit(str(file), False, tuple(lines))


def _skip_line(stream: IO[bytes]) -> None:
    while part := stream.readline(1024 * 1024):
        if part.endswith(b"\n"):
            return


@contextmanager
def _open_file(file: Path) -> Iterator[IO[bytes]]:
    if file.name.endswith(".gz"):
        with gzip.open(file) as stream:
            yield cast(IO[bytes], stream)
    else:
        with file.open("rb") as plain:
            yield plain


def _loading_order(file: Path) -> tuple[int, str]:
    start = file.name.split(".")[0]
    return (_LOADED_FIRST.index(start) if start in _LOADED_FIRST else len(_LOADED_FIRST), str(file))
