"""The Merkle tree against the published vectors of RFC 6962, and every proof against every tree."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_privacy.audit import (
    EMPTY,
    HASH_BYTES,
    TileReader,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    new_tiles,
    root_of,
    tile_path,
    verify_consistency,
    verify_inclusion,
)

# The leaves and roots of the reference implementation of Certificate Transparency.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
HASHES = [leaf_hash(leaf) for leaf in LEAVES]
# index (from 0), size, proof
INCLUSIONS = (
    (0, 1, ()),
    (
        0,
        8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        5,
        8,
        (
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (2, 3, ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",)),
    (
        1,
        5,
        (
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
)
CONSISTENCIES = (
    (1, 1, ()),
    (
        1,
        8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        6,
        8,
        (
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (
        2,
        5,
        (
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
)


class Tiles:
    """Tiles in memory, grown leaf by leaf."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.size = 0

    def read(self, level: int, number: int, width: int) -> bytes | None:
        return self.kept.get(tile_path(level, number, width))

    def grow(self, leaves: list[bytes]) -> None:
        for tile in list(new_tiles(self.read, self.size, leaves)):
            self.kept[tile_path(tile.level, tile.number, tile.width)] = tile.content
        self.size += len(leaves)

    def reader(self) -> TileReader:
        return TileReader(self.read, self.size)


def tree(hashes: list[bytes]) -> TileReader:
    tiles = Tiles()
    tiles.grow(hashes)
    return tiles.reader()


def many(count: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def test_the_roots_are_those_of_the_published_trees() -> None:
    assert root_of([]) == EMPTY == sha256(b"").digest()
    for size, root in enumerate(ROOTS, 1):
        assert root_of(HASHES[:size]).hex() == root
        assert tree(HASHES[:size]).root().hex() == root
        assert tree(HASHES).root(size).hex() == root


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSIONS)
def test_inclusion_proofs_are_the_published_ones(
    index: int, size: int, proof: tuple[str, ...]
) -> None:
    made = inclusion_proof(tree(HASHES[:size]).node, index, size)

    assert tuple(one.hex() for one in made) == proof
    assert verify_inclusion(HASHES[index], index, size, made, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("first", "second", "proof"), CONSISTENCIES)
def test_consistency_proofs_are_the_published_ones(
    first: int, second: int, proof: tuple[str, ...]
) -> None:
    made = consistency_proof(tree(HASHES[:second]).node, first, second)

    assert tuple(one.hex() for one in made) == proof
    roots = [bytes.fromhex(ROOTS[size - 1]) for size in (first, second)]
    assert verify_consistency(first, second, roots[0], roots[1], made)


@given(st.integers(1, 700), st.data())
def test_every_proof_holds_and_holds_for_nothing_else(size: int, data: st.DataObject) -> None:
    hashes = many(size)
    reader, root = tree(hashes), root_of(hashes)
    index = data.draw(st.integers(0, size - 1))
    first = data.draw(st.integers(1, size))
    path = inclusion_proof(reader.node, index, size)
    step = consistency_proof(reader.node, first, size)
    old = root_of(hashes[:first])

    assert reader.root() == root
    assert verify_inclusion(hashes[index], index, size, path, root)
    assert verify_consistency(first, size, old, root, step)
    other = bytes(HASH_BYTES)
    assert not verify_inclusion(other, index, size, path, root)
    assert not verify_inclusion(hashes[index], index, size, [*path, other], root)
    assert not verify_inclusion(hashes[index], size, size, path, root)
    assert not verify_consistency(first, size, other, root, step)
    assert not verify_consistency(first, size, old, other, step)
    for position in range(len(path)):
        assert not verify_inclusion(
            hashes[index], index, size, [*path[:position], other, *path[position + 1 :]], root
        )
    for position in range(len(step)):
        damaged = [*step[:position], other, *step[position + 1 :]]
        assert not verify_consistency(first, size, old, root, damaged)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8))
def test_tiles_grown_in_any_steps_are_those_of_the_whole(steps: list[int]) -> None:
    grown, total = Tiles(), sum(steps)
    hashes = many(total)
    for step in steps:
        grown.grow(hashes[grown.size : grown.size + step])
    whole = Tiles()
    whole.grow(hashes)

    assert grown.reader().root() == root_of(hashes)
    assert {path: grown.kept[path] for path in whole.kept} == whole.kept


def test_a_tree_of_three_levels_of_tiles_is_read_through_them() -> None:
    hashes = many(66_000)
    reader = tree(hashes)

    assert reader.root() == root_of(hashes)
    assert verify_inclusion(
        hashes[65_800], 65_800, 66_000, inclusion_proof(reader.node, 65_800, 66_000), reader.root()
    )


def test_a_missing_or_damaged_tile_is_named() -> None:
    tiles = Tiles()
    tiles.grow(many(300))
    tiles.kept["tile/0/000"] = b"short"

    with pytest.raises(LookupError, match=r"tile/0/000 is missing or damaged"):
        tiles.reader().leaf(3)
    with pytest.raises(ValueError, match="not in a tree"):
        inclusion_proof(tiles.reader().node, 300, 300)
    with pytest.raises(ValueError, match="first tree"):
        consistency_proof(tiles.reader().node, 0, 300)
