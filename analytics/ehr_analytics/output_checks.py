"""The airlock's automatic output checks: each passes or fails, with a reason.

They read the files as they would be released and share no code with what produced them, so that
one mistake does not pass twice.
"""

from __future__ import annotations

import csv
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ehr_fhir.jurisdiction import JURISDICTION

FILE_TYPES = {".csv": b"", ".png": b"\x89PNG\r\n\x1a\n"}
# Chosen: a table of counts is far smaller; more looks like rows of people.
MAX_ROWS = 5_000
MAX_BYTES = 16 * 1024 * 1024
HIDDEN = "[hidden]"
_NUMBER = re.compile(r"-?(?P<digits>\d+(\.\d+)?)(e[+-]\d+)?")
# Of a PNG file: header, palette, transparency, resolution, pixels, end.
_PICTURE_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"pHYs", b"IDAT", b"IEND"})
# What the platform's own plots say in words, and how long that may be.
_TEXT_CHUNKS = frozenset({b"Title", b"Description", b"Software"})
_MAX_TEXT = 400

_PERSON_IDENTIFIER = JURISDICTION.person_identifier
_ID_COLUMN = re.compile(
    rf"(^|_)(id|identifier|{_PERSON_IDENTIFIER.name.lower()}"
    r"|name|phone|address|mrn|uuid|birth_?date)s?($|_)"
)
_ID_VALUE = re.compile(
    r"[0-9a-f]{32,}"  # a pseudonym or a digest
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # a UUID
    rf"|{_PERSON_IDENTIFIER.written}|{_PERSON_IDENTIFIER.pattern}"
    r"|\d{4}-\d{2}-\d{2}.*"  # a date: a table of counts has none
    r"|[A-Z][A-Za-z]+/[A-Za-z0-9.-]{8,}",  # a FHIR reference
)


@dataclass(frozen=True)
class CheckResult:
    """One check of one file: whether it passed, and why."""

    name: str
    file: str
    passed: bool
    reason: str


def check_outputs(
    folder: Path, policy: str, counts: Sequence[str] | None, numbers: Sequence[str] = ()
) -> tuple[CheckResult, ...]:
    """Check every file of an outputs folder against the disclosure policy it was made by.

    `numbers` are columns of what is no count: means, ratios, to three digits. Without `counts` the
    file is own code's: no rule knows its numbers, and people judge them.
    """
    results: list[CheckResult] = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        results.append(_check_file_type(path))
        results.append(_check_size(path))
        if path.suffix == ".csv":
            results += _check_table(path, policy, counts, numbers)
        if path.suffix == ".png" and results[-2].passed:
            results.append(_check_image(path))
    if not results:
        results.append(CheckResult("not empty", folder.name, False, "there is nothing to release"))
    return tuple(results)


def is_allowed_count(policy: str, count: int) -> bool:
    """Say whether a policy can produce this count.

    >>> [is_allowed_count("opensafely-7-5", count) for count in (0, 5, 7, 8, 10)]
    [False, False, False, False, True]
    """
    if policy == "opensafely-7-5":
        return count > 7 and count % 5 == 0
    if policy == "midpoint-6":
        return count == 0 or count % 6 == 3
    # An unknown policy shows nothing.
    return policy == "acro-10" and count >= 10


def describe_own_table(path: Path, min_persons: int) -> list[dict[str, object]]:
    """Return what a table of own code holds, for a checker: rows and small numbers per column."""
    with path.open(newline="", encoding="utf-8", errors="replace") as lines:
        reader = csv.DictReader(lines)
        rows = list(reader)
    described: list[dict[str, object]] = []
    for field in reader.fieldnames or ():
        values = [str(row[field] or "") for row in rows]
        numbers = [float(value) for value in values if _NUMBER.fullmatch(value)]
        small = sum(0 < abs(number) < min_persons for number in numbers)
        described.append(
            {
                "table": path.name,
                "labels": {"column": field},
                "statistic": f"{len(set(values))} different values, {small} small numbers",
                "unit": "own code",
                "rows": len(rows),
                "shown": None,
                "hidden_by": None,
            }
        )
    return described


def _check_file_type(path: Path) -> CheckResult:
    start = FILE_TYPES.get(path.suffix)
    if path.is_symlink() or start is None:
        return CheckResult("file type", path.name, False, "only CSV and PNG files leave")
    with path.open("rb") as content:
        if not content.read(len(start)) == start:
            return CheckResult(
                "file type", path.name, False, "the content is not what the name says"
            )
    return CheckResult("file type", path.name, True, "CSV or PNG, by name and by content")


def _check_size(path: Path) -> CheckResult:
    size = path.stat().st_size
    return CheckResult("size", path.name, size <= MAX_BYTES, f"{size} bytes of at most {MAX_BYTES}")


def _check_image(path: Path) -> CheckResult:
    fault = find_image_fault(path.read_bytes())
    return CheckResult("image", path.name, fault is None, fault or "nothing beside the picture")


def find_image_fault(content: bytes) -> str | None:
    """Return what a PNG file has beside its picture, where data could ride along; None if nothing.

    >>> find_image_fault(b"GIF89a")
    'it is no whole PNG file'
    """
    place = len(FILE_TYPES[".png"])
    if not content.startswith(FILE_TYPES[".png"]):
        return "it is no whole PNG file"
    while place + 12 <= len(content):
        size, kind = struct.unpack(">I4s", content[place : place + 8])
        body = content[place + 8 : place + 8 + size]
        if kind not in _PICTURE_CHUNKS and not (
            kind == b"tEXt" and body.split(b"\0")[0] in _TEXT_CHUNKS and size <= _MAX_TEXT
        ):
            return "it has a part that is no picture"
        place += 12 + size
        if kind == b"IEND":
            return None if place == len(content) else "something follows the picture"
    return "it is no whole PNG file"


def _check_table(
    path: Path, policy: str, counts: Sequence[str] | None, numbers: Sequence[str]
) -> list[CheckResult]:
    with path.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        rows = list(reader)
        fields = list(reader.fieldnames or ())
    if counts is None:
        return [
            _check_row_limit(path, len(rows)),
            _check_column_names(path, fields),
            _check_values(path, rows, fields),
        ]
    return [
        _check_row_limit(path, len(rows)),
        _check_column_names(path, fields),
        _check_values(path, rows, [f for f in fields if f not in counts and f not in numbers]),
        _check_cells(path, rows, policy, [f for f in fields if f in counts], numbers),
        *_check_numbers(path, rows, [field for field in fields if field in numbers]),
    ]


def _check_row_limit(path: Path, rows: int) -> CheckResult:
    return CheckResult(
        "row limit", path.name, rows <= MAX_ROWS, f"{rows} rows of at most {MAX_ROWS}"
    )


def _check_column_names(path: Path, fields: Sequence[str]) -> CheckResult:
    suspicious = [field for field in fields if _ID_COLUMN.search(field.lower())]
    reason = (
        f"columns like identifiers: {', '.join(suspicious)}"
        if suspicious
        else "no column of identifiers"
    )
    return CheckResult("column names", path.name, not suspicious, reason)


def _check_values(path: Path, rows: Sequence[dict[str, str]], strata: Sequence[str]) -> CheckResult:
    # The value itself is not repeated: the reason may travel further than the file.
    suspicious = sorted({s for row in rows for s in strata if _ID_VALUE.fullmatch(row[s] or "")})
    reason = (
        f"values like identifiers in: {', '.join(suspicious)}"
        if suspicious
        else "no identifier or date"
    )
    return CheckResult("values", path.name, not suspicious, reason)


def _check_cells(
    path: Path,
    rows: Sequence[dict[str, str]],
    policy: str,
    counts: Sequence[str],
    numbers: Sequence[str],
) -> CheckResult:
    bad = sum(not _is_allowed_cell(row[count], policy) for row in rows for count in counts)
    total = len(rows) * len(counts)
    if not counts and not numbers:
        return CheckResult(
            "small cells", path.name, False, "no column of counts that the study declares"
        )
    reason = f"{bad} of {total} cells break {policy}" if bad else f"{total} cells keep {policy}"
    return CheckResult("small cells", path.name, bad == 0, reason)


def _check_numbers(
    path: Path, rows: Sequence[dict[str, str]], numbers: Sequence[str]
) -> list[CheckResult]:
    if not numbers:
        return []
    bad = sum(not _is_allowed_number(row[name]) for row in rows for name in numbers)
    total = len(rows) * len(numbers)
    reason = f"{bad} of {total} numbers have more than three digits" if bad else f"{total} numbers"
    return [CheckResult("digits", path.name, bad == 0, reason)]


def _is_allowed_number(text: str) -> bool:
    """Say whether a number has three significant digits at the most.

    >>> [_is_allowed_number(text) for text in ("1480", "-0.0123", "1485", "1.5e+08", "x")]
    [True, True, False, True, False]
    """
    if text == HIDDEN:
        return True
    match = _NUMBER.fullmatch(text)
    return match is not None and len(match["digits"].replace(".", "").strip("0")) <= 3


def _is_allowed_cell(text: str, policy: str) -> bool:
    if text == HIDDEN:
        return True
    return text.isascii() and text.isdigit() and is_allowed_count(policy, int(text))
