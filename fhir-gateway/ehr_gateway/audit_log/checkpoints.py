"""Checkpoints: the rows since the last one into tiles, and a signature for them.

Before anything is signed, what the database holds is checked to continue what was signed before. A
log that does not is left as it is, and said so in the process's own log: nothing is signed over it.
"""

from __future__ import annotations

from collections.abc import Callable

from ehr_fhir.errors import Conflict, Fault
from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.database import Database
from ehr_privacy.audit import (
    EMPTY,
    TILE,
    Checkpoint,
    Signer,
    TileReader,
    consistency_proof,
    find_difference,
    new_tiles,
    tile_path,
    verifier_key,
    verify_consistency,
)
from ehr_privacy.audit.tiles import Tile

__all__ = ["advance"]

# Leaves of one checkpoint at most: some seconds of work, some megabytes.
_MOST = 1 << 18


def advance(
    database: Database, folder: LogFolder, signer: Signer, clock: Callable[[], int]
) -> Checkpoint | None:
    """Sign for every row that is there now, and return the newest checkpoint.

    None when another process is at it. Conflict, with the place, when the log does not continue
    what was signed before.
    """
    with folder.turn() as mine:
        if not mine:
            return None
        folder.publish_key(verifier_key(signer.name, signer.public))
        last = folder.latest(signer.name, signer.public) or Checkpoint(signer.name, 0, EMPTY)
        while True:
            added = _added(database, folder, last)
            if not added and folder.note() is not None:
                return last
            last = _signed(database, folder, signer, last, added, clock())
            if len(added) < _MOST:
                return last


def _added(database: Database, folder: LogFolder, last: Checkpoint) -> list[bytes]:
    """Return the leaves since a checkpoint; Conflict when they do not continue it."""
    start = last.size - last.size % TILE
    with database.read_transaction() as connection:
        rows = connection.execute(
            "SELECT seq, leaf, id FROM audit WHERE seq > ? ORDER BY seq LIMIT ?",
            (start, _MOST + TILE),
        ).fetchall()
    for index, row in enumerate(rows, start):
        if row["seq"] != index + 1:
            raise Conflict(f"The event of leaf {index} is missing.")
    known = folder.reader(last.size).tile(0, start // TILE) if last.size > start else []
    leaves = [bytes(row["leaf"]) for row in rows]
    events = {start + n: row["id"] for n, row in enumerate(rows[: len(known)])}
    if finding := find_difference(start, known, leaves[: len(known)], events):
        raise Conflict(f"{finding.text} (leaf {finding.index})")
    return leaves[len(known) : len(known) + _MOST]


def _signed(
    database: Database,
    folder: LogFolder,
    signer: Signer,
    last: Checkpoint,
    added: list[bytes],
    now_ms: int,
) -> Checkpoint:
    tiles = list(new_tiles(folder.tile, last.size, added))
    size = last.size + len(added)
    made = {(tile.level, tile.number, tile.width): tile.content for tile in tiles}
    reader = TileReader(lambda *key: made.get(key) or folder.tile(*key), size)
    found = Checkpoint(signer.name, size, reader.root())
    proof = consistency_proof(reader.node, last.size, size) if last.size else []
    if not verify_consistency(last.size, size, last.root, found.root, proof):
        raise Conflict(f"The log is not the one whose first {last.size} events were signed for.")
    _on_disk(database)
    for tile in tiles:
        _refuse_another(folder, tile)
        folder.write_tile(tile)
    folder.publish(signer.note(size, found.root), now_ms)
    return found


def _refuse_another(folder: LogFolder, tile: Tile) -> None:
    there = folder.tile(tile.level, tile.number, tile.width)
    if there is not None and there != tile.content:
        path = tile_path(tile.level, tile.number, tile.width)
        raise Fault(f"The exported log already has another {path}.")


def _on_disk(database: Database) -> None:
    # Rows of reads do not wait for the disk. What is signed for must outlive a power cut, and a
    # commit that waits takes along what was committed before it.
    with database.write_transaction() as connection:
        connection.execute(
            "INSERT INTO audit_head (one, size) VALUES (2, 1)"
            " ON CONFLICT (one) DO UPDATE SET size = 1 - audit_head.size"
        )
