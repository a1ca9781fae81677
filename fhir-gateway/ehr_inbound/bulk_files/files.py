"""The files of a load and the units of work in them, within bounded memory.

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

from ehr_fhir.json_text import LARGEST

__all__ = ["LoadReject", "Unit", "discover", "units"]

_LINES = (".ndjson", ".ndjson.gz")
_WHOLE = (".json", ".json.gz")
_MOST_LINES = 250
_MOST_BYTES = 2 * 1024 * 1024
# A Bundle holds many resources, each within the limit of one.
LARGEST_FILE = 512 * 1024 * 1024
# Put in first what others refer to, so that the feed tells of it first.
_FIRST = ("hospitalInformation", "Organization", "Location", "practitionerInformation",
          "Practitioner", "PractitionerRole", "Medication", "Patient")  # fmt: skip


@dataclass(frozen=True)
class LoadReject:
    """What was not loaded, and why; `line` is the entry's number where the file is a Bundle."""

    file: str
    line: int
    type: str | None
    id: str | None
    reason: str


@dataclass(frozen=True)
class Unit:
    """A piece of work: numbered lines, or the one text of a JSON file."""

    file: str
    whole: bool
    lines: tuple[tuple[int, bytes], ...]


def discover(paths: Sequence[Path]) -> tuple[list[Path], list[LoadReject]]:
    """Return the files below some paths in the order of loading, and those that are none."""
    found: dict[Path, None] = {}
    rejects = []
    for path in paths:
        inside = (
            sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        )
        for file in inside:
            if file.name.endswith((*_LINES, *_WHOLE)):
                found[file] = None
            else:
                text = "The name must end in .json, .ndjson, .json.gz or .ndjson.gz."
                rejects.append(LoadReject(str(file), 0, None, None, text))
    return sorted(found, key=_rank), rejects


def units(file: Path) -> Iterator[Unit | LoadReject]:
    """Yield the units of a file, and a reject for each line that cannot even be read."""
    try:
        with _opened(file) as stream:
            if file.name.endswith(_WHOLE):
                yield _whole(file, stream)
            else:
                yield from _runs(file, stream)
    except (OSError, EOFError, zlib.error) as error:
        what = "cannot be read" if isinstance(error, FileNotFoundError) else "is damaged or cut off"
        yield LoadReject(str(file), 0, None, None, f"The file {what}; what follows is not loaded.")


def _whole(file: Path, stream: IO[bytes]) -> Unit | LoadReject:
    content = stream.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        text = f"The file is larger than {LARGEST_FILE // 1024 // 1024} MiB. Send NDJSON instead."
        return LoadReject(str(file), 0, None, None, text)
    return Unit(str(file), True, ((1, content),))


def _runs(file: Path, stream: IO[bytes]) -> Iterator[Unit | LoadReject]:
    lines: list[tuple[int, bytes]] = []
    size = number = 0
    while line := stream.readline(LARGEST + 2):
        number += 1
        if len(line) > LARGEST and not line.endswith(b"\n"):
            _skip_line(stream)
            text = f"The line is longer than {LARGEST // 1024 // 1024} MiB."
            yield LoadReject(str(file), number, None, None, text)
            continue
        if line.strip():
            lines.append((number, line))
            size += len(line)
        if len(lines) >= _MOST_LINES or size >= _MOST_BYTES:
            yield Unit(str(file), False, tuple(lines))
            lines, size = [], 0
    if lines:
        yield Unit(str(file), False, tuple(lines))


def _skip_line(stream: IO[bytes]) -> None:
    while part := stream.readline(1024 * 1024):
        if part.endswith(b"\n"):
            return


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    if file.name.endswith(".gz"):
        with gzip.open(file) as stream:
            yield cast(IO[bytes], stream)
    else:
        with file.open("rb") as plain:
            yield plain


def _rank(file: Path) -> tuple[int, str]:
    start = file.name.split(".")[0]
    return (_FIRST.index(start) if start in _FIRST else len(_FIRST), str(file))
