"""Checkpoints: export new leaves as tiles, and sign tree size and root (C2SP tlog-checkpoint).

Before signing, the new tree is proven to continue the last signed one (RFC 6962 consistency proof).
A log that does not is reported to the operator and left as it is: nothing is signed over it.
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

__all__ = ["sign_checkpoint"]

# Leaves of one checkpoint at most: some seconds of work, some megabytes.
_BATCH_LEAVES = 1 << 18


def sign_checkpoint(
    database: Database, folder: LogFolder, signer: Signer, clock: Callable[[], int]
) -> Checkpoint | None:
    """Sign a checkpoint for all rows and return it; None if another process holds the lock.

    Raises Conflict, with the place, if the log does not continue what was signed before.
    """
    with folder.try_lock() as has_lock:
        if not has_lock:
            return None
        folder.publish_key(verifier_key(signer.name, signer.public))
        last = folder.read_latest(signer.name, signer.public) or Checkpoint(signer.name, 0, EMPTY)
        while True:
            new_leaves = _read_new_leaves(database, folder, last)
            if not new_leaves and folder.read_note() is not None:
                return last
            last = _sign_tree(database, folder, signer, last, new_leaves, clock())
            if len(new_leaves) < _BATCH_LEAVES:
                return last


def _read_new_leaves(database: Database, folder: LogFolder, last: Checkpoint) -> list[bytes]:
    """Return the leaves after a checkpoint; Conflict if the rows do not continue its tiles."""
    start = last.size - last.size % TILE
    with database.read_transaction() as connection:
        rows = connection.execute(
            "SELECT seq, leaf, id FROM audit WHERE seq > ? ORDER BY seq LIMIT ?",
            (start, _BATCH_LEAVES + TILE),
        ).fetchall()
    for leaf_index, row in enumerate(rows, start):
        if row["seq"] != leaf_index + 1:
            raise Conflict(f"The event of leaf {leaf_index} is missing.")
    exported = folder.tree_reader(last.size).tile(0, start // TILE) if last.size > start else []
    leaves = [bytes(row["leaf"]) for row in rows]
    events = {start + n: row["id"] for n, row in enumerate(rows[: len(exported)])}
    if finding := find_difference(start, exported, leaves[: len(exported)], events):
        raise Conflict(f"{finding.text} (leaf {finding.index})")
    return leaves[len(exported) : len(exported) + _BATCH_LEAVES]


def _sign_tree(
    database: Database,
    folder: LogFolder,
    signer: Signer,
    last: Checkpoint,
    new_leaves: list[bytes],
    now_ms: int,
) -> Checkpoint:
    tiles = list(new_tiles(folder.read_tile, last.size, new_leaves))
    tree_size = last.size + len(new_leaves)
    tile_contents = {(tile.level, tile.number, tile.width): tile.content for tile in tiles}
    reader = TileReader(lambda *key: tile_contents.get(key) or folder.read_tile(*key), tree_size)
    checkpoint = Checkpoint(signer.name, tree_size, reader.root())
    proof = consistency_proof(reader.node, last.size, tree_size) if last.size else []
    if not verify_consistency(last.size, tree_size, last.root, checkpoint.root, proof):
        raise Conflict(f"The log is not the one whose first {last.size} events were signed for.")
    _sync_database(database)
    for tile in tiles:
        _check_tile_unchanged(folder, tile)
        folder.write_tile(tile)
    folder.publish_checkpoint(signer.note(tree_size, checkpoint.root), now_ms)
    return checkpoint


def _check_tile_unchanged(folder: LogFolder, tile: Tile) -> None:
    existing = folder.read_tile(tile.level, tile.number, tile.width)
    if existing is not None and existing != tile.content:
        path = tile_path(tile.level, tile.number, tile.width)
        raise Fault(f"The exported log already has another {path}.")


def _sync_database(database: Database) -> None:
    # Commits of reads do not wait for the disk, but what is signed must survive a power cut. A
    # durable commit also makes earlier ones durable, so any write that waits will do.
    with database.write_transaction() as connection:
        connection.execute(
            "INSERT INTO audit_head (one, size) VALUES (2, 1)"
            " ON CONFLICT (one) DO UPDATE SET size = 1 - audit_head.size"
        )
