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

__all__ = ["Quantities", "Suppression", "suppress"]

_SLACK = 1e-6
# Chosen: as many programs for all at once may show nothing new before each has its own.
_MOST_FAILURES = 3
# Programs by quantities that are spent on showing cells again. Chosen: some seconds.
_MOST_TO_SHOW_AGAIN = 300_000
# What `linprog` calls an optimum.
_OPTIMAL = 0


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
    """What is hidden in the end, and which sensitive quantities could not be protected.

    Those in `known_before` are revealed by earlier releases, whatever is hidden now.
    """

    is_hidden: NDArray[np.bool_]
    unprotected: tuple[int, ...]
    known_before: tuple[int, ...]
    programs: int


def suppress(quantities: Quantities, relations: Sequence[Relation]) -> Suppression:
    """Hide further cells until every sensitive quantity is protected."""
    count = len(quantities.values)
    is_hidden = quantities.is_hidden.copy()
    unprotected: list[int] = []
    known_before: list[int] = []
    programs = 0
    for places, own in _split_into_components(count, relations):
        sensitive = places[quantities.protections[places] > 0]
        if not len(sensitive):
            continue
        part = _Component(quantities, places, [relations[row] for row in own], is_hidden[places])
        left = part.protect()
        is_hidden[places] = part.is_hidden
        known = part.find_known_before(left)
        unprotected += [int(places[place]) for place in left if place not in known]
        known_before += [int(places[place]) for place in known]
        programs += part.programs
    return Suppression(is_hidden, tuple(unprotected), tuple(known_before), programs)


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
        # Points that are all possible for a reader, and the widest spread of each quantity in them.
        self._points: list[NDArray[np.float64]] = []
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
        unprotected = [p for p in order if not self._is_spread(p) and not self._is_wide(p)]
        if not unprotected:
            self._show_what_need_not_be_hidden(sensitive)
        return unprotected

    def find_known_before(self, places: Sequence[int]) -> list[int]:
        """Return the quantities that a reader knows though all that can be is hidden."""
        if not places:
            return []
        self.is_hidden = self.is_hidden | np.isfinite(self.costs)
        return [place for place in places if not self._is_wide(place)]

    def _show_what_need_not_be_hidden(self, sensitive: NDArray[np.int64]) -> None:
        """Show each cell again without which every sensitive quantity is still protected.

        What was hidden for one quantity after another is more than all of them together need.
        """
        again = np.flatnonzero(self.is_hidden & np.isfinite(self.costs) & (self.protections == 0))
        most = self.programs + _MOST_TO_SHOW_AGAIN // len(self.values)
        # The dearest first.
        for cell in again[np.argsort(-self.costs[again], kind="stable")].tolist():
            if self.programs >= most:
                return
            self.is_hidden[cell] = False
            before = self._points
            self._keep_points_that_hold(cell)
            if not all(self._is_spread(place) or self._is_wide(place) for place in sensitive):
                self.is_hidden[cell] = True
                self._points = before

    def _keep_points_that_hold(self, cell: int) -> None:
        """Leave out the possible points at which a cell is not what is published of it."""
        low, high = self.lows[cell] - _SLACK, self.highs[cell] + _SLACK
        self._points = [point for point in self._points if low <= point[cell] <= high]
        self.least = np.min([self.values, *self._points], axis=0)
        self.most = np.max([self.values, *self._points], axis=0)

    def _add_point(self, point: NDArray[np.float64]) -> None:
        self._points.append(point)
        self.least = np.minimum(self.least, point)
        self.most = np.maximum(self.most, point)

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
    ) -> None:
        """Find the possible point that makes an objective least, and keep how far it spreads."""
        self.programs += 1
        columns = np.flatnonzero(bounds[:, 0] < bounds[:, 1])
        # Deviations from the true values, which fulfil the relations: so zero is always possible.
        matrix = self._by_column[:, columns].tocsr()
        matrix = matrix[np.diff(matrix.indptr) > 0]
        found = _minimize(objective[columns], matrix, bounds[columns])
        if found is None:
            return
        point = self.values.copy()
        point[columns] += found
        self._add_point(point)

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
        bounds = self._bounds()
        # Amounts may be negative without end: no further than the protection, as in `_is_wide`.
        bounds[sensitive, 0] = np.maximum(bounds[sensitive, 0], -self.protections[sensitive])
        self._solve(lowest, bounds)
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
        """Work out whether the interval of one quantity is wide enough; no where it is unknown."""
        bounds = self._bounds()
        # No further than the protection: so there always is a least and a most.
        bounds[place] = bounds[place].clip(-self.protections[place], self.protections[place])
        for sign in (1.0, -1.0):
            objective = np.zeros(len(self.values))
            objective[place] = sign
            self._solve(objective, bounds)
        return self._is_spread(place)

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
        found = _minimize(
            np.concatenate([np.zeros(len(moving)), costs, costs]),
            sparse.hstack([self._by_column[:, moving], extra, -extra]).tocsr(),
            np.vstack(
                [
                    free[moving],
                    np.column_stack([np.zeros(len(hideable)), np.full(len(hideable), np.inf)]),
                    np.column_stack([np.zeros(len(hideable)), room]),
                ]
            ),
        )
        if found is None:
            return
        kept, up, down = np.split(found, [len(moving), len(moving) + len(hideable)])
        self.is_hidden[hideable[(up > _SLACK) | (down > _SLACK)]] = True
        point = self.values.copy()
        point[moving] += kept
        point[hideable] += up - down
        self._add_point(point)


def _minimize(
    objective: NDArray[np.float64], matrix: sparse.csr_matrix, bounds: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the point within bounds, with `matrix @ point == 0`, that makes an objective least.

    None where there is none, or where the solver cannot say.
    """
    # Interior points take a tenth of the time of the simplex at 10,000 cells.
    for method in ("highs-ipm", "highs-ds"):
        result = linprog(
            objective, A_eq=matrix, b_eq=np.zeros(matrix.shape[0]), bounds=bounds, method=method
        )
        if result.status == _OPTIMAL:
            found: NDArray[np.float64] = result.x
            return found
    return None
