"""Positions and intervals of a hierarchy in which concepts may have several parents. Pure.

After Agrawal, Borgida and Jagadish, "Efficient management of transitive relationships in large data
and knowledge bases" (SIGMOD 1989): along a spanning tree each concept is numbered before all below
it, and keeps the intervals of all its descendants, those of other branches too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Hierarchy", "number_hierarchy"]

Interval = tuple[int, int]


@dataclass(frozen=True)
class Hierarchy:
    """The order of the nodes, and the intervals of positions below each node that has any."""

    # Node by position.
    order: Sequence[int]
    # Position by node.
    positions: Sequence[int]
    # By position; each begins with the node's own.
    intervals: Mapping[int, Sequence[Interval]]


def number_hierarchy(count: int, edges: Iterable[tuple[int, int]]) -> Hierarchy:
    """Number nodes from 0 to `count` by their (child, parent) edges; circles are cut.

    >>> diamond = number_hierarchy(4, [(1, 0), (2, 0), (3, 1), (3, 2)])
    >>> diamond.order, diamond.intervals[diamond.positions[1]], diamond.intervals[0]
    ([0, 1, 3, 2], [(1, 2)], [(0, 3)])
    """
    children: list[list[int]] = [[] for _ in range(count)]
    has_parent = bytearray(count)
    for child, parent in edges:
        if child != parent:
            children[parent].append(child)
            has_parent[child] = 1
    positions = [-1] * count
    order: list[int] = []
    finished: list[int] = []
    is_open = bytearray(count)
    # What has no parent first; then what only circles lead to.
    for root in (*(node for node in range(count) if not has_parent[node]), *range(count)):
        if positions[root] < 0:
            _visit(root, children, positions, order, finished, is_open)
    intervals: dict[int, Sequence[Interval]] = {}
    for node in finished:
        if children[node]:
            own = positions[node]
            below = [(own, own)]
            for child in children[node]:
                at = positions[child]
                below += intervals.get(at, ((at, at),))
            intervals[own] = _merge(below)
    return Hierarchy(order, positions, intervals)


def _visit(
    root: int,
    children: list[list[int]],
    positions: list[int],
    order: list[int],
    finished: list[int],
    is_open: bytearray,
) -> None:
    """Number a node and all below it, in depth; drop edges that close a circle."""
    positions[root] = len(order)
    order.append(root)
    is_open[root] = 1
    stack = [(root, 0)]
    while stack:
        node, at = stack.pop()
        own = children[node]
        while at < len(own):
            child = own[at]
            if is_open[child]:
                del own[at]
                continue
            at += 1
            if positions[child] < 0:
                stack.append((node, at))
                positions[child] = len(order)
                order.append(child)
                is_open[child] = 1
                stack.append((child, 0))
                break
        else:
            is_open[node] = 0
            finished.append(node)


def _merge(intervals: list[Interval]) -> list[Interval]:
    """Return intervals in order, those that touch as one."""
    intervals.sort()
    merged = [intervals[0]]
    for low, high in intervals[1:]:
        last_low, last_high = merged[-1]
        if low <= last_high + 1:
            if high > last_high:
                merged[-1] = last_low, high
        else:
            merged.append((low, high))
    return merged
