"""The exported log: a folder of tiles (C2SP tlog-tiles) and checkpoints, for witnesses to copy.

`checkpoint` is the newest one, `checkpoints/<day>` all of a day, `tile/` the Merkle tree, and
`verifier.key` the public key of the signatures. It contains hashes only, no rows and no names. A
complete tile is never written again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ehr_privacy.audit import TILE, Checkpoint, TileReader, open_note, public_key, tile_path
from ehr_privacy.audit.tiles import Tile

__all__ = ["LogFolder"]

_HISTORY_END = b"\n\f\n"


class LogFolder:
    """The exported folder of one log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Tiles that were written and not yet synced to disk.
        self._unsynced: list[Path] = []

    @contextmanager
    def try_lock(self) -> Iterator[bool]:
        """Try to lock the folder for writing; yield False if another process holds the lock."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def read_note(self) -> bytes | None:
        """Return the newest checkpoint as a signed note; None without one."""
        path = self.path / "checkpoint"
        return path.read_bytes() if path.exists() else None

    def read_latest(self, name: str, public: bytes) -> Checkpoint | None:
        """Return the newest checkpoint, verified; Invalid if its signature is wrong."""
        note = self.read_note()
        return None if note is None else open_note(note, name, public)

    def read_history(self) -> Iterator[bytes]:
        """Yield every signed note, oldest first."""
        for path in sorted((self.path / "checkpoints").glob("*")):
            yield from (part + b"\n" for part in path.read_bytes().split(_HISTORY_END) if part)

    def read_key(self) -> tuple[str, bytes] | None:
        """Return name and public key of the log; None before the first export."""
        path = self.path / "verifier.key"
        return public_key(path.read_text("utf-8")) if path.exists() else None

    def publish_key(self, key: str) -> None:
        """Export the verifier key once."""
        path = self.path / "verifier.key"
        if not path.exists():
            _write_atomically(path, f"{key}\n".encode())

    def read_tile(self, level: int, number: int, width: int) -> bytes | None:
        """Return the content of a tile; None if it was not exported."""
        path = self.path / tile_path(level, number, width)
        if not path.exists() and width < TILE:
            return self._read_wider_tile(level, number, width)
        return path.read_bytes() if path.exists() else None

    def tree_reader(self, size: int) -> TileReader:
        """Return a reader of the tree of a size that was exported."""
        return TileReader(self.read_tile, size)

    def write_tile(self, tile: Tile) -> None:
        """Write a new tile; a complete one replaces its partial ones."""
        path = self.path / tile_path(tile.level, tile.number, tile.width)
        if not path.exists():
            self._unsynced.append(_write_atomically(path, tile.content))
        if tile.width == TILE:
            shutil.rmtree(f"{path}.p", ignore_errors=True)

    def publish_checkpoint(self, note: bytes, at_ms: int) -> None:
        """Publish a checkpoint, after its tiles are on disk."""
        _fsync(self._unsynced)
        self._unsynced.clear()
        day = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")
        history = self.path / "checkpoints" / day
        history.parent.mkdir(exist_ok=True)
        with history.open("ab") as file:
            file.write(note[:-1] + _HISTORY_END)
        _fsync([history, _write_atomically(self.path / "checkpoint.new", note)])
        (self.path / "checkpoint.new").replace(self.path / "checkpoint")
        _fsync([self.path])

    def _read_wider_tile(self, level: int, number: int, width: int) -> bytes | None:
        """Return the first hashes of a tile that was exported with more of them."""
        whole = self.path / tile_path(level, number)
        parts = sorted(Path(f"{whole}.p").glob("*"), key=lambda part: int(part.name))
        for path in [*parts, whole]:
            if path.exists() and (path == whole or int(path.name) >= width):
                return path.read_bytes()[: width * 32]
        return None


def _write_atomically(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)
    return path


def _fsync(paths: Sequence[Path]) -> None:
    """Sync files and their folders to disk."""
    for path in [*paths, *{written.parent for written in paths}]:
        # A partial tile may have been replaced by a longer one since.
        with suppress(FileNotFoundError):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
