"""Proofs that a leaf is in a tree, and that one tree is the beginning of another (RFC 6962 §2.1).

Verifying follows RFC 9162 §2.1.3.2 and §2.1.4.2 step by step, under their variable names: `fn` and
`sn` are the indexes of the leaf and of the last leaf at the level reached, `r`, `fr` and `sr` the
hashes so far.
"""

from __future__ import annotations

from collections.abc import Sequence

from ehr_privacy.audit.tree import EMPTY, Nodes, node_hash, range_hash

__all__ = ["consistency_proof", "inclusion_proof", "verify_consistency", "verify_inclusion"]


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """Return the hashes that lead from a leaf to the root of a tree of `size` leaves.

    Raises ValueError for a leaf outside the tree.
    """
    if not 0 <= index < size:
        raise ValueError("the leaf is not in a tree of this size")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_hash(nodes, middle, end))
            end = middle
        else:
            path.append(range_hash(nodes, start, middle))
            start = middle
    return path[::-1]


def consistency_proof(nodes: Nodes, first: int, second: int) -> list[bytes]:
    """Return the hashes that show the tree of `first` leaves to begin the tree of `second`.

    Raises ValueError unless 0 < first <= second.
    """
    if not 0 < first <= second:
        raise ValueError("the first tree must have leaves, and no more than the second")
    path: list[bytes] = []
    start, end, known = 0, second, True
    while first - start != end - start:
        middle = start + _split(end - start)
        if first <= middle:
            path.append(range_hash(nodes, middle, end))
            end = middle
        else:
            path.append(range_hash(nodes, start, middle))
            start, known = middle, False
    if not known:
        path.append(range_hash(nodes, start, end))
    return path[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Say whether a proof leads from a leaf at a place to a root."""
    if not 0 <= index < size:
        return False
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Say whether a proof shows one tree to be the beginning of another."""
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        # Every tree begins with the empty one.
        return not proof and first_root == EMPTY
    if not 0 < first < second or not proof:
        return False
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == first_root and sr == second_root


def _split(size: int) -> int:
    """Return the largest power of two below a size."""
    return 1 << ((size - 1).bit_length() - 1)
