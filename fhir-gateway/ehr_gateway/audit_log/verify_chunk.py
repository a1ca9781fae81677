"""Verify one chunk of the log: hash its rows again, compare leaves and tiles, return its root.

All leaves are compared at once. Only a chunk that differs is examined row by row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.audit_log.restores import RESTORE, RestoreNote
from ehr_gateway.database import Dialect, open_for_reading
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS
from ehr_privacy.audit import HASH_BYTES, TILE, Finding, find_difference, root_of, row_leaf

__all__ = [
    "CHUNK_LEAVES",
    "ERASURE_INTERACTION",
    "ChunkReport",
    "ChunkTask",
    "compute_stored_root",
    "verify_chunk",
]

# A subtree of two levels of tiles (256 * 256 leaves), so that a chunk has one root.
CHUNK_LEAVES = TILE * TILE
# The interaction code of an event that names erased events.
ERASURE_INTERACTION = "erase-audit"
_Row = tuple[Any, ...]
_LEAF, _SALT, _ID = 1, 2, 3
_TEXT, _TOLD, _RESTORE_QUERY = 3, 4, 5
_SELECT = f"SELECT seq, leaf, salt, {', '.join(CONTENT_COLUMNS)} FROM audit"  # noqa: S608 constant columns
_SELECT_COLUMNS: Mapping[Dialect, str] = {"sqlite": _SELECT, "postgresql": _SELECT}
# The row as JSON, as the leaf commits to it, written by the database, which is much faster at it.
# A rare character may be escaped in another way: then, as for any difference, the chunk is read
# again by columns.
_ROW_AS_JSON: Mapping[Dialect, str] = {
    "sqlite": f"CAST(json_array({', '.join(CONTENT_COLUMNS)}) AS BLOB)",
    "postgresql": "convert_to('[' || concat_ws(',', "
    + ", ".join(f"coalesce(CAST(to_json({name}) AS text), 'null')" for name in CONTENT_COLUMNS)
    + ") || ']', 'UTF8')",
}
_SELECT_JSON: Mapping[Dialect, str] = {
    dialect: f"SELECT seq, leaf, salt, {written},"  # noqa: S608
    f" CASE WHEN interaction = '{ERASURE_INTERACTION}' THEN entities END,"
    f" CASE WHEN interaction = '{RESTORE}' THEN query END FROM audit"
    for dialect, written in _ROW_AS_JSON.items()
}
_MAX_FINDINGS = 20


@dataclass(frozen=True)
class ChunkTask:
    """A chunk to verify: leaves `start` to `end` (exclusive) of a log signed to `signed_size`."""

    database_place: Path | str
    folder: Path
    start: int
    end: int
    signed_size: int


@dataclass
class ChunkReport:
    """The result of one chunk."""

    end: int
    root: bytes = b""
    findings: list[Finding] = field(default_factory=list)
    # Erased rows as (leaf index, event id), and the event ids that erasure events name.
    erased: list[tuple[int, str]] = field(default_factory=list)
    erasure_ids: list[str] = field(default_factory=list)
    # What events of restores say.
    restores: list[RestoreNote] = field(default_factory=list)


def verify_chunk(task: ChunkTask) -> ChunkReport:
    """Read and verify one chunk."""
    place, start, end, signed = task.database_place, task.start, task.end, task.signed_size
    folder, chunk = LogFolder(task.folder), ChunkReport(end)
    quick = _read_rows(place, _SELECT_JSON, start, end)
    leaves = [row[_LEAF] for row in quick]
    computed = [
        sha256(b"\x00" + sha256(row[_SALT] + row[_TEXT]).digest()).digest() for row in quick
    ]
    is_complete = len(quick) == end - start and quick[0][0] == start + 1 and quick[-1][0] == end
    if computed != leaves or not is_complete:
        _check_rows(chunk, _read_rows(place, _SELECT_COLUMNS, start, end), start, end)
    chunk.erasure_ids += [
        reference.partition("/")[2]
        for row in quick
        if row[_TOLD]
        for reference in json.loads(row[_TOLD])
    ]
    chunk.restores += [
        note
        for row in quick
        if row[_RESTORE_QUERY] and (note := RestoreNote.from_query(row[_RESTORE_QUERY]))
    ]
    if end <= signed:
        _check_tiles(chunk, folder, place, leaves, start, signed)
    chunk.root = root_of(leaves)
    return chunk


def compute_stored_root(place: Path | str, size: int) -> bytes:
    """Return the root over the stored leaves of the first `size` rows."""
    database, roots = open_for_reading(place), []
    try:
        for start in range(0, size, CHUNK_LEAVES):
            with database.read_transaction() as connection:
                rows = connection.execute(
                    "SELECT leaf FROM audit WHERE seq > ? AND seq <= ? ORDER BY seq",
                    (start, min(start + CHUNK_LEAVES, size)),
                )
                roots.append(root_of([bytes(row[0]) for row in rows]))
    finally:
        database.close()
    return root_of(roots)


def _read_rows(
    place: Path | str, select: Mapping[Dialect, str], start: int, end: int
) -> list[_Row]:
    database = open_for_reading(place)
    try:
        with database.read_transaction() as connection:
            sql = f"{select[connection.dialect]} WHERE seq > ? AND seq <= ? ORDER BY seq"
            cursor: Any = connection.execute(sql, (start, end))
            if connection.dialect == "sqlite":
                # Plain tuples: named rows would cost as much as the hashing.
                cursor.row_factory = None
                rows: list[_Row] = cursor.fetchall()
                return rows
            return [tuple(row) for row in cursor]
    finally:
        database.close()


def _check_rows(chunk: ChunkReport, rows: Sequence[_Row], start: int, end: int) -> None:
    """Add findings for rows that are missing or that their leaf does not commit to."""
    expected = start
    for row in rows:
        leaf_index = row[0] - 1
        if leaf_index > expected:
            missing = (
                f"{expected}" if leaf_index == expected + 1 else f"{expected} to {leaf_index - 1}"
            )
            text = f"There is no event for leaf {missing}: it was taken out."
            _add_finding(chunk, Finding("drop", expected, None, text))
        expected = leaf_index + 1
        if row_leaf(row[_SALT], row[3:]) == row[_LEAF]:
            continue
        if not row[_SALT]:
            chunk.erased.append((leaf_index, row[_ID]))
            continue
        _add_finding(chunk, Finding("flip", leaf_index, row[_ID], _describe_difference(row, rows)))
    if expected < end:
        text = f"The log ends before leaf {expected}: its end was cut off, or the database is an "
        _add_finding(chunk, Finding("cut", expected, None, f"{text}older state."))


def _describe_difference(row: _Row, rows: Sequence[_Row]) -> str:
    leaf_index = row[0] - 1
    for other in rows:
        if other is not row and row_leaf(other[_SALT], row[3:]) == row[_LEAF]:
            return f"The event of leaf {leaf_index} has the salt of leaf {other[0] - 1}."
    return (
        f"The event of leaf {leaf_index} is not what its leaf commits to:"
        " it or its salt was changed."
    )


def _check_tiles(
    chunk: ChunkReport,
    folder: LogFolder,
    place: Path | str,
    leaves: Sequence[bytes],
    start: int,
    signed: int,
) -> None:
    """Compare the leaves of the database with those of the exported tiles."""
    for first in range(start, chunk.end, TILE):
        width = min(TILE, signed - first)
        content = folder.read_tile(0, first // TILE, width)
        if content is None:
            text = f"The exported tile of leaf {first} is missing."
            _add_finding(chunk, Finding("tile", first, None, text))
            continue
        expected_leaves = leaves[first - start : first - start + width]
        if content == b"".join(expected_leaves):
            continue
        if chunk.findings:
            # The rows themselves have given the finding already.
            return
        # With the next tile, so that a shift at the end of this one is recognised.
        next_width = min(TILE, max(signed - first - TILE, 0))
        content += (next_width and folder.read_tile(0, first // TILE + 1, next_width)) or b""
        exported_leaves = [
            content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES)
        ]
        database_leaves = leaves[first - start : first - start + 2 * TILE]
        rows = _read_rows(place, _SELECT_COLUMNS, first, first + TILE)
        events = {row[0] - 1: row[_ID] for row in rows}
        if finding := find_difference(
            first, exported_leaves[: len(database_leaves)], database_leaves, events
        ):
            _add_finding(chunk, finding)
            return


def _add_finding(chunk: ChunkReport, finding: Finding) -> None:
    if len(chunk.findings) < _MAX_FINDINGS:
        chunk.findings.append(finding)
