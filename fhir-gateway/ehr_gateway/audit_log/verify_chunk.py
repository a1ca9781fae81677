"""One stretch of the log, read and hashed anew: its root, and what is wrong in it.

First everything is compared at once; only a stretch that differs is looked at row by row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.database import Dialect, open_database
from ehr_gateway.schema.audit_log import CONTENT
from ehr_privacy.audit import HASH_BYTES, TILE, Finding, find_difference, root_of, row_leaf

__all__ = ["CHUNK", "ERASURE", "Chunk", "Part", "read_chunk", "stored_root"]

# A subtree of two levels of tiles.
CHUNK = TILE * TILE
# The interaction of the event that tells which events were emptied.
ERASURE = "erase-audit"
# database, exported log, first leaf, end, how many leaves are signed for
Part = tuple[Path | str, Path, int, int, int]
_Row = tuple[Any, ...]
_LEAF, _SALT, _ID = 1, 2, 3
_TEXT, _TOLD = 3, 4
_SELECT = f"SELECT seq, leaf, salt, {', '.join(CONTENT)} FROM audit"  # noqa: S608 constant columns
_EXACT: Mapping[Dialect, str] = {"sqlite": _SELECT, "postgresql": _SELECT}
# The row as the leaf has it, written by the database: it is much quicker at it. Where a rare sign
# is written in another way, or anything is wrong, the stretch is read again, exactly.
_WRITTEN: Mapping[Dialect, str] = {
    "sqlite": f"CAST(json_array({', '.join(CONTENT)}) AS BLOB)",
    "postgresql": "convert_to('[' || concat_ws(',', "
    + ", ".join(f"coalesce(CAST(to_json({name}) AS text), 'null')" for name in CONTENT)
    + ") || ']', 'UTF8')",
}
_QUICK: Mapping[Dialect, str] = {
    dialect: f"SELECT seq, leaf, salt, {written},"  # noqa: S608
    f" CASE WHEN interaction = '{ERASURE}' THEN entities END FROM audit"
    for dialect, written in _WRITTEN.items()
}
_MOST = 20


@dataclass
class Chunk:
    """What one stretch holds."""

    end: int
    root: bytes = b""
    findings: list[Finding] = field(default_factory=list)
    # Emptied rows as (leaf, event id), and the ids that events of erasure name.
    erased: list[tuple[int, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def read_chunk(part: Part) -> Chunk:
    """Read and verify one stretch."""
    place, path, start, end, signed = part
    folder, chunk = LogFolder(path), Chunk(end)
    quick = _rows(place, _QUICK, start, end)
    leaves = [row[_LEAF] for row in quick]
    found = [sha256(b"\x00" + sha256(row[_SALT] + row[_TEXT]).digest()).digest() for row in quick]
    whole = len(quick) == end - start and quick[0][0] == start + 1 and quick[-1][0] == end
    if found != leaves or not whole:
        _look(chunk, _rows(place, _EXACT, start, end), start, end)
    chunk.told += [
        reference.partition("/")[2]
        for row in quick
        if row[_TOLD]
        for reference in json.loads(row[_TOLD])
    ]
    if end <= signed:
        _hold(chunk, folder, place, leaves, start, signed)
    chunk.root = root_of(leaves)
    return chunk


def stored_root(place: Path | str, size: int) -> bytes:
    """Return the root over the leaves that the first rows say they have."""
    database, roots = open_database(place), []
    try:
        for start in range(0, size, CHUNK):
            with database.read_transaction() as connection:
                rows = connection.execute(
                    "SELECT leaf FROM audit WHERE seq > ? AND seq <= ? ORDER BY seq",
                    (start, min(start + CHUNK, size)),
                )
                roots.append(root_of([bytes(row[0]) for row in rows]))
    finally:
        database.close()
    return root_of(roots)


def _rows(place: Path | str, select: Mapping[Dialect, str], start: int, end: int) -> list[_Row]:
    database = open_database(place)
    try:
        with database.read_transaction() as connection:
            sql = f"{select[connection.dialect]} WHERE seq > ? AND seq <= ? ORDER BY seq"
            cursor: Any = connection.execute(sql, (start, end))
            if connection.dialect == "sqlite":
                # Plain tuples: rows with names would cost as much as the hashing.
                cursor.row_factory = None
                rows: list[_Row] = cursor.fetchall()
                return rows
            return [tuple(row) for row in cursor]
    finally:
        database.close()


def _look(chunk: Chunk, rows: Sequence[_Row], start: int, end: int) -> None:
    """Say which rows are missing, emptied, or no longer what their leaf commits to."""
    expected = start
    for row in rows:
        index = row[0] - 1
        if index > expected:
            missing = f"{expected}" if index == expected + 1 else f"{expected} to {index - 1}"
            text = f"There is no event for leaf {missing}: it was taken out."
            _add(chunk, Finding("drop", expected, None, text))
        expected = index + 1
        if row_leaf(row[_SALT], row[3:]) == row[_LEAF]:
            continue
        if not row[_SALT]:
            chunk.erased.append((index, row[_ID]))
            continue
        _add(chunk, Finding("flip", index, row[_ID], _differs(row, rows)))
    if expected < end:
        text = f"The log ends before leaf {expected}: its end was cut off, or the database is an "
        _add(chunk, Finding("cut", expected, None, f"{text}older state."))


def _differs(row: _Row, rows: Sequence[_Row]) -> str:
    index = row[0] - 1
    for other in rows:
        if other is not row and row_leaf(other[_SALT], row[3:]) == row[_LEAF]:
            return f"The event of leaf {index} has the salt of leaf {other[0] - 1}."
    return f"The event of leaf {index} is not what its leaf commits to: it or its salt was changed."


def _hold(
    chunk: Chunk,
    folder: LogFolder,
    place: Path | str,
    leaves: Sequence[bytes],
    start: int,
    signed: int,
) -> None:
    """Hold the leaves of the database against those of the exported tiles."""
    for first in range(start, chunk.end, TILE):
        width = min(TILE, signed - first)
        content = folder.tile(0, first // TILE, width)
        if content is None:
            text = f"The exported tile of leaf {first} is missing."
            _add(chunk, Finding("tile", first, None, text))
            continue
        here = leaves[first - start : first - start + width]
        if content == b"".join(here):
            continue
        if chunk.findings:
            # Named already by what the rows say of themselves.
            return
        # With the next tile, for what happened at the end of this one.
        ahead = min(TILE, max(signed - first - TILE, 0))
        content += (ahead and folder.tile(0, first // TILE + 1, ahead)) or b""
        witnessed = [content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES)]
        there = leaves[first - start : first - start + 2 * TILE]
        rows = _rows(place, _EXACT, first, first + TILE)
        events = {row[0] - 1: row[_ID] for row in rows}
        if finding := find_difference(first, witnessed[: len(there)], there, events):
            _add(chunk, finding)
            return


def _add(chunk: Chunk, finding: Finding) -> None:
    if len(chunk.findings) < _MOST:
        chunk.findings.append(finding)
