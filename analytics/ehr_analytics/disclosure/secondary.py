"""Secondary suppression: which further cells to hide so that no hidden one can be worked out.

A reader knows the relations between cells, the published values up to their rounding, and that
nothing is negative. Linear programming gives the interval in which that places a sensitive
quantity (the attacker's problem). Where it is too narrow, a second program finds the cheapest
cells whose hiding makes it wide enough, one sensitive quantity after another (Kelly, Golden and
Assad 1990; Fischetti and Salazar 2001). Cells of earlier releases are known and cannot be hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog
from scipy.sparse.csgraph import connected_components

from ehr_analytics.disclosure.margins import Relation

__all__ = ["Quantities", "Suppression", "find_interval", "suppress"]

_SLACK = 1e-6
# Chosen: as many programs for all at once may show nothing new before each has its own.
_MOST_FAILURES = 3


@dataclass(frozen=True)
class Quantities:
    """What the relations are between, one place each: cells first, then complements.

    `lows` and `highs` are the published interval, which holds where a quantity is shown.
    `protections` say how wide the interval of a sensitive one must be; zero for others. `floors`
    are what everybody knows: nothing counted is negative. `costs` of hiding are infinite for what
    cannot be hidden: cells of earlier releases.
    """

    values: NDArray[np.float64]
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    floors: NDArray[np.float64]
    protections: NDArray[np.float64]
    costs: NDArray[np.float64]
    is_hidden: NDArray[np.bool_]


@dataclass(frozen=True)
class Suppression:
    """What is hidden in the end, and which sensitive quantities could not be protected."""

    is_hidden: NDArray[np.bool_]
    unprotected: tuple[int, ...]
    programs: int


def suppress(quantities: Quantities, relations: Sequence[Relation]) -> Suppression:
    """Hide further cells until every sensitive quantity is protected."""
    count = len(quantities.values)
    is_hidden = quantities.is_hidden.copy()
    unprotected: list[int] = []
    programs = 0
    for places, own in _split_into_components(count, relations):
        sensitive = places[quantities.protections[places] > 0]
        if not len(sensitive):
            continue
        part = _Component(quantities, places, [relations[row] for row in own], is_hidden[places])
        unprotected += [int(places[place]) for place in part.protect()]
        is_hidden[places] = part.is_hidden
        programs += part.programs
    return Suppression(is_hidden, tuple(unprotected), programs)


def find_interval(
    quantities: Quantities, relations: Sequence[Relation], place: int
) -> tuple[float, float]:
    """Return the interval in which a reader of the release can place a quantity."""
    for places, rows in _split_into_components(len(quantities.values), relations):
        at = np.flatnonzero(places == place)
        if len(at):
            part = _Component(
                quantities,
                places,
                [relations[row] for row in rows],
                quantities.is_hidden[places],
            )
            return part.find_interval(int(at[0]))
    if quantities.is_hidden[place]:
        return float(quantities.floors[place]), np.inf
    return float(quantities.lows[place]), float(quantities.highs[place])


def _split_into_components(
    count: int, relations: Sequence[Relation]
) -> list[tuple[NDArray[np.int64], list[int]]]:
    """Return quantities that are connected by relations, and which relations those are."""
    if not relations:
        return []
    totals = [relation.total for relation in relations]
    rows = np.repeat(totals, [len(relation.parts) for relation in relations])
    columns = np.concatenate([np.array(relation.parts) for relation in relations])
    graph = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    by_label: dict[int, list[int]] = {}
    for row, relation in enumerate(relations):
        by_label.setdefault(int(labels[relation.total]), []).append(row)
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], list(by_label))
    ends = np.searchsorted(labels[order], list(by_label), side="right")
    return [
        (np.sort(order[start:end]), rows)
        for start, end, rows in zip(starts, ends, by_label.values(), strict=True)
    ]


class _Component:
    """Connected quantities: intervals that a reader can work out, and how to widen them."""

    def __init__(
        self,
        quantities: Quantities,
        places: NDArray[np.int64],
        relations: Sequence[Relation],
        is_hidden: NDArray[np.bool_],
    ) -> None:
        self.values = quantities.values[places]
        self.lows = quantities.lows[places]
        self.highs = quantities.highs[places]
        self.floors = quantities.floors[places]
        self.protections = quantities.protections[places]
        self.costs = quantities.costs[places]
        self.is_hidden = is_hidden.copy()
        self.programs = 0
        local = {int(place): number for number, place in enumerate(places)}
        self.relations = [
            (local[relation.total], np.array([local[part] for part in relation.parts]))
            for relation in relations
        ]
        self.matrix = self._build_matrix(len(places))
        self._by_column = self.matrix.tocsc()
        # The widest spread seen of each quantity, from points that are all possible.
        self.least = self.values.copy()
        self.most = self.values.copy()

    def protect(self) -> list[int]:
        """Hide what is needed; return the sensitive quantities that stay unprotected."""
        self._hide_alone_in_a_relation()
        sensitive = np.flatnonzero(self.protections > 0)
        self._spread(sensitive)
        # The most demanding first: what is hidden for them protects the others too.
        order = sensitive[np.argsort(-self.protections[sensitive], kind="stable")].tolist()
        left = [place for place in order if not self._is_spread(place)]
        while left:
            batch = self._pick_apart(left)
            self._widen(batch)
            if len(batch) > 1 and not all(self._is_spread(place) for place in batch):
                for place in batch:
                    if not self._is_spread(place):
                        self._widen([place])
            tried = set(batch)
            left = [place for place in left if place not in tried and not self._is_spread(place)]
        return [p for p in order if not self._is_spread(p) and not self._is_wide(p)]

    def _pick_apart(self, places: Sequence[int]) -> list[int]:
        """Return the first of the places and others that share no relation with one picked."""
        taken: set[int] = set()
        picked = []
        for place in places:
            rows = set(self._by_column[:, [place]].indices.tolist())
            if not rows & taken:
                taken |= rows
                picked.append(place)
        return picked

    def find_interval(self, place: int) -> tuple[float, float]:
        """Return the smallest and the largest value that a quantity may have for a reader."""
        ends = []
        for sign in (1.0, -1.0):
            objective = np.zeros(len(self.values))
            objective[place] = sign
            point = self._solve(objective, self._bounds())
            ends.append(-sign * np.inf if point is None else float(point[place]))
        return ends[0], ends[1]

    def _build_matrix(self, width: int) -> sparse.csr_matrix:
        lengths = [1 + len(parts) for _, parts in self.relations]
        rows = np.repeat(np.arange(len(self.relations)), lengths)
        columns = np.concatenate([[total, *parts] for total, parts in self.relations])
        signs = np.concatenate([[1.0, *[-1.0] * len(parts)] for _, parts in self.relations])
        return sparse.csr_matrix((signs, (rows, columns)), shape=(len(self.relations), width))

    def _bounds(self) -> NDArray[np.float64]:
        """Return how far each quantity may be from its true value, for a reader."""
        lows = np.where(self.is_hidden, self.floors, np.maximum(self.lows, self.floors))
        highs = np.where(self.is_hidden, np.inf, self.highs)
        return np.column_stack([lows, highs]) - self.values[:, None]

    def _solve(
        self,
        objective: NDArray[np.float64],
        bounds: NDArray[np.float64],
    ) -> NDArray[np.float64] | None:
        """Return the possible point that makes an objective least; None when there is no end."""
        self.programs += 1
        columns = np.flatnonzero(bounds[:, 0] < bounds[:, 1])
        # Deviations from the true values, which fulfil the relations: so zero is always possible.
        matrix = self._by_column[:, columns].tocsr()
        matrix = matrix[np.diff(matrix.indptr) > 0]
        result = linprog(
            objective[columns],
            A_eq=matrix,
            b_eq=np.zeros(matrix.shape[0]),
            bounds=bounds[columns],
            method="highs",
        )
        if result.x is None:
            return None
        point = self.values.copy()
        point[columns] += result.x
        self.least = np.minimum(self.least, point)
        self.most = np.maximum(self.most, point)
        return point

    def _hide_alone_in_a_relation(self) -> None:
        """Hide a second cell where a relation has one hidden alone and so reveals it.

        This is what most of the suppression is, and costs no program.
        """
        changed = True
        while changed:
            changed = False
            for total, parts in self.relations:
                members = np.array([total, *parts])
                hidden = members[self.is_hidden[members]]
                if len(hidden) != 1:
                    continue
                shown = members[~self.is_hidden[members]]
                slack = float((self.highs[shown] - self.lows[shown]).sum())
                need = self.protections[hidden[0]] or self.protections.max()
                if slack >= need - _SLACK:
                    continue
                worth = self.values[shown] > 0
                candidates = shown[np.isfinite(self.costs[shown]) & worth]
                if len(candidates):
                    chosen = candidates[np.argmin(self.costs[candidates])]
                    self.is_hidden[chosen] = True
                    changed = True

    def _spread(self, sensitive: NDArray[np.int64]) -> None:
        """Show of many quantities at once that they are protected, by few possible points."""
        generator = np.random.default_rng(0)
        lowest = np.zeros(len(self.values))
        lowest[sensitive] = 1.0
        self._solve(lowest, self._bounds())
        failures = 0
        narrow = [place for place in sensitive.tolist() if not self._is_spread(place)]
        while narrow and failures < _MOST_FAILURES:
            # Some at a time: fewer stand in each other's way.
            some = generator.choice(narrow, max(1, len(narrow) // 4), replace=False)
            objective = np.zeros(len(self.values))
            objective[some] = -1.0
            # None needs to go further than its protection: so more of them get there.
            bounds = self._bounds()
            enough = np.maximum(self.least[some] + self.protections[some], self.values[some])
            bounds[some, 1] = np.minimum(bounds[some, 1], enough - self.values[some])
            self._solve(objective, bounds)
            left = [place for place in narrow if not self._is_spread(place)]
            failures = failures + 1 if len(left) > 0.95 * len(narrow) else 0
            narrow = left

    def _is_spread(self, place: int) -> bool:
        width = float(self.most[place] - self.least[place])
        return bool(width >= self.protections[place] - _SLACK)

    def _is_wide(self, place: int) -> bool:
        """Work out the interval of one quantity; say whether it is wide enough."""
        low, high = self.find_interval(place)
        return bool(high - low >= self.protections[place] - _SLACK)

    def _widen(self, places: Sequence[int]) -> None:
        """Hide the cheapest cells that let quantities be larger by their protection."""
        bounds = self._bounds()
        # Deviations within what is known cost nothing; beyond it the cell has to be hidden.
        free = bounds.copy()
        for place in places:
            least = self.least[place] - self.values[place]
            wide = max(self.protections[place] + least, 0.0)
            free[place] = (wide, max(wide, bounds[place, 1]))
        may_hide = ~self.is_hidden & np.isfinite(self.costs)
        hideable = np.flatnonzero(may_hide)
        costs = self.costs[hideable]
        room = self.values[hideable] - self.floors[hideable]
        extra = self._by_column[:, hideable]
        moving = np.flatnonzero(free.any(axis=1))
        self.programs += 1
        result = linprog(
            np.concatenate([np.zeros(len(moving)), costs, costs]),
            A_eq=sparse.hstack([self._by_column[:, moving], extra, -extra]).tocsr(),
            b_eq=np.zeros(self.matrix.shape[0]),
            bounds=np.vstack(
                [
                    free[moving],
                    np.column_stack([np.zeros(len(hideable)), np.full(len(hideable), np.inf)]),
                    np.column_stack([np.zeros(len(hideable)), room]),
                ]
            ),
            method="highs",
        )
        if result.x is None:
            return
        kept, up, down = np.split(result.x, [len(moving), len(moving) + len(hideable)])
        self.is_hidden[hideable[(up > _SLACK) | (down > _SLACK)]] = True
        point = self.values.copy()
        point[moving] += kept
        point[hideable] += up - down
        self.least = np.minimum(self.least, point)
        self.most = np.maximum(self.most, point)
