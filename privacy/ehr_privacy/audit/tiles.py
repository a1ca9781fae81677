"""The tree in tiles of 256 hashes, as C2SP's tlog-tiles lays them out in files.

A tile of level 0 holds 256 leaves, one of level 1 the roots of 256 tiles of level 0, and so on. A
complete tile never changes. With tiles, a proof over ten million leaves reads a dozen files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ehr_privacy.audit.tree import HASH_BYTES, range_hash, root_of

__all__ = ["TILE", "TILE_HEIGHT", "Tile", "TileReader", "new_tiles", "tile_path"]

TILE_HEIGHT = 8
TILE = 1 << TILE_HEIGHT

# The content of a tile by level, number and width, or None when it is not there.
Read = Callable[[int, int, int], bytes | None]


@dataclass(frozen=True)
class Tile:
    """One tile: which one, and its hashes side by side."""

    level: int
    number: int
    content: bytes

    @property
    def width(self) -> int:
        """How many hashes it holds: 256 when it is complete."""
        return len(self.content) // HASH_BYTES


def tile_path(level: int, number: int, width: int = TILE) -> str:
    """Return where a tile lies.

    >>> tile_path(0, 7), tile_path(1, 1234067), tile_path(0, 273, 112)
    ('tile/0/007', 'tile/1/x001/x234/067', 'tile/0/273.p/112')
    """
    groups = [f"{number % 1000:03}"]
    while number := number // 1000:
        groups.append(f"x{number % 1000:03}")
    part = "" if width == TILE else f".p/{width}"
    return f"tile/{level}/{'/'.join(groups[::-1])}{part}"


def widths(size: int, level: int) -> tuple[int, int]:
    """Return how many complete tiles a tree has at a level, and how wide the cut one is."""
    return divmod(size >> (TILE_HEIGHT * level), TILE)


def new_tiles(read: Read, size: int, leaves: Sequence[bytes]) -> Iterator[Tile]:
    """Yield the tiles that change when leaves are added to a tree of `size`, from below.

    Raises LookupError when a tile of the tree is missing.
    """
    level, begin, added = 0, size, list(leaves)
    while added:
        complete, width = divmod(begin, TILE)
        kept = _hashes(_there(read(level, complete, width))) if width else []
        entries = [*kept, *added]
        above = begin >> TILE_HEIGHT
        added = []
        for start in range(0, len(entries), TILE):
            some = entries[start : start + TILE]
            yield Tile(level, complete + start // TILE, b"".join(some))
            if len(some) == TILE:
                added.append(root_of(some))
        level, begin = level + 1, above


class TileReader:
    """The hashes of a tree of one size, out of its tiles."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self.size = size
        self._seen: dict[tuple[int, int], list[bytes]] = {}

    def leaf(self, index: int) -> bytes:
        """Return the hash of one leaf."""
        return self.node(0, index)

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree; LookupError when its tile is missing."""
        height, rest = divmod(level, TILE_HEIGHT)
        first = index << rest
        entries = self.tile(height, first // TILE)
        begin = first % TILE
        some = entries[begin : begin + (1 << rest)]
        if len(some) < 1 << rest:
            raise LookupError("this subtree is not complete in a tree of this size")
        return root_of(some)

    def tile(self, level: int, number: int) -> list[bytes]:
        """Return the hashes of one tile; LookupError when it is missing or cut."""
        key = (level, number)
        if key not in self._seen:
            complete, width = widths(self.size, level)
            wide = TILE if number < complete else width if number == complete else 0
            content = self._read(level, number, wide) if wide else None
            if content is None or len(content) != wide * HASH_BYTES:
                raise LookupError(f"{tile_path(level, number, wide)} is missing or damaged")
            self._seen[key] = _hashes(content)
        return self._seen[key]

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the tree, or of its beginning."""
        return range_hash(self.node, 0, self.size if size is None else size)


def _there(content: bytes | None) -> bytes:
    if content is None:
        raise LookupError("a tile of the tree is missing")
    return content


def _hashes(content: bytes) -> list[bytes]:
    return [content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES)]
