"""The Merkle tree of RFC 6962 §2.1: hashes of leaves, of nodes, and of any complete or cut tree.

A tree of n leaves splits at the largest power of two below n, so every left side is complete. Trees
are therefore asked for by `Nodes`: a function that gives the hash of one complete subtree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

__all__ = ["EMPTY", "HASH_BYTES", "Nodes", "leaf_hash", "node_hash", "range_hash", "root_of"]

HASH_BYTES = 32
EMPTY = sha256(b"").digest()

# (level, index) -> hash of the complete subtree over leaves [index << level, (index + 1) << level).
Nodes = Callable[[int, int], bytes]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf.

    >>> leaf_hash(b"").hex()[:16]
    '6e340b9cffb37a98'
    """
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over hashes of one level, of leaves or of equal complete subtrees."""
    if not hashes:
        return EMPTY
    level = list(hashes)
    while len(level) > 1:
        # The last one without a partner moves up as it is: the same tree, found from below.
        odd = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [sha256(b"\x01" + left + right).digest() for left, right in pairs] + odd
    return level[0]


def range_hash(nodes: Nodes, start: int, end: int) -> bytes:
    """Return the hash over the leaves [start, end) as RFC 6962 builds it inside a tree.

    `start` is where such a subtree begins: a multiple of the power of two that covers the range.
    """
    size = end - start
    if size == 0:
        return EMPTY
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return nodes(level, start >> level)
    split = 1 << ((size - 1).bit_length() - 1)
    left, right = range_hash(nodes, start, start + split), range_hash(nodes, start + split, end)
    return node_hash(left, right)
