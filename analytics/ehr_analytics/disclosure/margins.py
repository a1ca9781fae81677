"""Linear relations between cells, found from the sets of persons behind them, not from labels.

A cell that is the union of disjoint others is their sum, in whatever table they stand and whatever
they are called. What is left of a cell when others are taken out of it (the complement) is a
quantity that no table shows and that every reader can subtract; where few persons are in it, it is
to be protected like a small cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["CellSets", "Complement", "MarginFinder", "Margins", "Relation"]

Numbers = NDArray[np.uint32]

# Rows of the overlap matrix at a time. Chosen: 256 rows of 10,000 cells are 20 MB when all overlap.
_ROWS_AT_ONCE = 256
# Disjoint sets that one table is divided into; further cells stand alone. Chosen.
_MOST_PARTITIONS = 64
# Atoms of all cells that no margins explain, counted once for each such cell. Chosen: ten times
# as many take minutes.
_MOST_OVERLAPS = 300_000


@dataclass(frozen=True)
class Complement:
    """What is left of a cell without its parts: how much, of how many, and of one at the most."""

    value: float
    persons: int
    largest: float


@dataclass(frozen=True)
class Relation:
    """The value of a cell is the sum of its parts and, where there is one, of a complement.

    Places count the cells first and the complements of `Margins` after them.
    """

    total: int
    parts: tuple[int, ...]


@dataclass
class Margins:
    """All relations that were found, and the complements in them."""

    cells: int
    relations: list[Relation] = field(default_factory=list)
    complements: list[Complement] = field(default_factory=list)
    # A cell, and one category of it in which everybody is.
    whole_categories: list[tuple[int, int]] = field(default_factory=list)
    # Cells whose overlaps with others are too many to be looked at.
    overlaps_left: int = 0

    def add_complement(self, complement: Complement) -> int:
        """Add a complement; return its place."""
        self.complements.append(complement)
        return self.cells + len(self.complements) - 1


@dataclass(frozen=True)
class CellSets:
    """Sets of persons as sorted numbers below `persons`, with what belongs together.

    `groups` numbers the tables: cells of one group may be parts of one whole. `amounts` are what
    each person of a set contributes, in the order of the numbers; ones for counts of persons.
    `is_category_of` says of two cells of the same persons whether the second is one of several
    categories of the first, so that the others are nobody's.
    """

    numbers: Sequence[Numbers]
    amounts: Sequence[NDArray[np.float64]]
    groups: NDArray[np.int64]
    persons: int
    is_category_of: Callable[[int, int], bool]


class MarginFinder:
    """Finds the relations between cells of one additive quantity."""

    def __init__(self, sets: CellSets, min_persons: int) -> None:
        self.sets = sets
        self.min_persons = min_persons
        self.count = len(sets.numbers)
        self.margins = Margins(self.count)
        self.sizes = np.array([len(numbers) for numbers in sets.numbers], np.int64)
        self._memberships = self._build_memberships()
        self._amounts = self._build_amounts()
        self._partitions = self._divide_into_partitions()
        self._hashes = self._hash_amounts()
        self._complement_places: dict[int, int] = {}
        # Complements that are one atom, by that atom.
        self._atoms_of_complements: dict[int, int] = {}

    def find(self) -> Margins:
        """Return the relations of all cells."""
        for total, parts in self._list_parts():
            self._add_relation(total, parts)
        if self._amounts is None:
            self._add_overlaps()
        return self.margins

    def _add_overlaps(self) -> None:
        """Add what sets tell of each other that are no unions of disjoint ones.

        |A|, |B| and |A or B| give |A and B|, which no table shows. A cell that relations do not
        lead back to atoms becomes the sum of its atoms, of which those of few persons are to be
        protected.
        """
        open_cells = self._find_unexplained()
        starts = self._memberships.indptr
        lengths = np.diff(starts)[open_cells]
        if lengths.sum() > _MOST_OVERLAPS:
            self.margins.overlaps_left = len(open_cells)
            return
        categories = {part for _, part in self.margins.whole_categories}
        # One cell for each atom; a category in which everybody is gives way to the whole.
        cells = sorted(range(self.count), key=lambda cell: (cell not in categories, -cell))
        places = {int(self._row(c)[0]): c for c in cells if starts[c + 1] - starts[c] == 1}
        places |= self._atoms_of_complements
        for cell in open_cells:
            for atom in self._row(cell).tolist():
                if atom not in places:
                    persons = int(self.weights[atom])
                    places[atom] = self.margins.add_complement(
                        Complement(float(persons), persons, 1.0)
                    )
            parts = tuple(places[atom] for atom in self._row(cell).tolist())
            self.margins.relations.append(Relation(cell, parts))

    def _find_unexplained(self) -> list[int]:
        """Return the cells that relations do not lead back to atoms."""
        by_total: dict[int, list[Relation]] = {}
        for relation in self.margins.relations:
            by_total.setdefault(relation.total, []).append(relation)
        explained = set(self._atoms_of_complements.values())
        unexplained = []
        # Parts before their wholes; of equal sets the first is the whole.
        for cell in sorted(range(self.count), key=lambda place: (self.sizes[place], -place)):
            if len(self._row(cell)) <= 1 or any(
                explained.issuperset(relation.parts) for relation in by_total.get(cell, ())
            ):
                explained.add(cell)
            else:
                unexplained.append(cell)
        return unexplained

    def _build_memberships(self) -> sparse.csr_matrix:
        """Return cells by atoms: persons that are in the same cells are one column with a weight.

        A release of 10,000 cells over a million persons has some thousands of them.
        """
        generator = np.random.default_rng()
        marks = generator.integers(0, 2**63, (2, self.count), np.uint64)
        signatures = np.zeros((2, self.sets.persons), np.uint64)
        for cell, numbers in enumerate(self.sets.numbers):
            for row in (0, 1):
                signatures[row, numbers] += marks[row, cell]
        # Two sums of 64 bits: that two persons of different cells meet in both does not happen.
        keys = signatures[0] ^ (signatures[1] * np.uint64(0x9E3779B97F4A7C15))
        _, first, atom_of, weights = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        # Atoms by their first person, not by the random keys: what is hidden is the same each time.
        order = np.argsort(first)
        places = np.argsort(order)
        is_first = np.zeros(self.sets.persons, bool)
        is_first[first] = True
        columns = [places[atom_of[numbers[is_first[numbers]]]] for numbers in self.sets.numbers]
        self.weights = weights[order].astype(np.float64)
        return _to_rows(columns, [np.ones(len(c)) for c in columns], len(first))

    def _build_amounts(self) -> sparse.csr_matrix | None:
        if all((amounts == 1).all() for amounts in self.sets.amounts):
            # Counts of persons: the atoms say all.
            return None
        return _to_rows(self.sets.numbers, self.sets.amounts, self.sets.persons)

    def _hash_amounts(self) -> NDArray[np.uint64]:
        """Return a number per cell that adds up as the amounts of its persons do."""
        marks = np.random.default_rng().integers(0, 2**63, self.sets.persons, np.uint64)
        with np.errstate(over="ignore"):
            return np.array(
                [
                    (marks[numbers] * _to_fixed_point(amounts)).sum(dtype=np.uint64)
                    for numbers, amounts in zip(self.sets.numbers, self.sets.amounts, strict=True)
                ],
                np.uint64,
            )

    def _divide_into_partitions(self) -> NDArray[np.int64]:
        """Return for each cell the number of a set of disjoint cells of its group."""
        result = np.full(self.count, -1, np.int64)
        used = 0
        for group in np.unique(self.sets.groups):
            taken: list[NDArray[np.bool_]] = []
            for cell in np.flatnonzero(self.sets.groups == group):
                atoms = self._row(int(cell))
                free = (place for place, mask in enumerate(taken) if not mask[atoms].any())
                place = next(free, len(taken))
                if place == _MOST_PARTITIONS:
                    result[cell] = used + _MOST_PARTITIONS + int(cell)
                    continue
                if place == len(taken):
                    taken.append(np.zeros(len(self.weights), bool))
                taken[place][atoms] = True
                result[cell] = used + place
            used += _MOST_PARTITIONS + self.count
        return result

    def _row(self, cell: int) -> NDArray[np.int32]:
        matrix = self._memberships
        atoms: NDArray[np.int32] = matrix.indices[matrix.indptr[cell] : matrix.indptr[cell + 1]]
        return atoms

    def _list_parts(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield each cell with disjoint cells of one group that lie within it."""
        transposed = self._memberships.T.tocsc()
        for start in range(0, self.count, _ROWS_AT_ONCE):
            block = self._memberships[start : start + _ROWS_AT_ONCE].multiply(self.weights).tocsr()
            overlaps = (block @ transposed).tocoo()
            totals = overlaps.row.astype(np.int64) + start
            parts = overlaps.col.astype(np.int64)
            is_part = (np.rint(overlaps.data) == self.sizes[parts]) & (totals != parts)
            # Of two equal sets the first is the whole, so that they are one relation.
            is_part &= (self.sizes[parts] < self.sizes[totals]) | (totals < parts)
            totals, parts = totals[is_part], parts[is_part]
            yield from _split_by(totals, parts, self._partitions[parts])
            if self._amounts is not None:
                # Stays by reason: one person's are in several cells, and add up all the same.
                yield from _split_by(totals, parts, self.sets.groups[parts])

    def _add_relation(self, total: int, parts: NDArray[np.int64]) -> None:
        persons = int(self.sizes[total] - self.sizes[parts].sum())
        value, largest = float(persons), 1.0
        if self._amounts is not None:
            left = self._amounts[total] - self._amounts[parts].sum(axis=0)
            left = np.asarray(left).ravel() if not sparse.issparse(left) else left.toarray().ravel()
            left[np.abs(left) < 1e-9] = 0
            if (left < 0).any():
                # The parts hold what the whole does not.
                return
            persons = int(np.count_nonzero(left))
            value, largest = float(left.sum()), float(np.abs(left).max(initial=0))
        places = tuple(int(part) for part in parts)
        if persons == 0:
            whole = self._find_whole_category(total, places)
            if whole is None:
                self.margins.relations.append(Relation(total, places))
            else:
                # Rows of nobody are left out like hidden ones, so a reader cannot tell this.
                self.margins.whole_categories.append(whole)
            return
        with np.errstate(over="ignore"):
            rest = int(self._hashes[total] - self._hashes[parts].sum(dtype=np.uint64))
        same = np.flatnonzero(self._hashes == np.uint64(rest))
        # Parts of nothing but zeros leave the whole: that it is itself tells nobody anything.
        same = same[same != total]
        if len(same):
            self.margins.relations.append(Relation(total, (*places, int(same[0]))))
        elif persons < self.min_persons:
            if rest not in self._complement_places:
                complement = Complement(value, persons, largest)
                self._complement_places[rest] = self.margins.add_complement(complement)
                self._note_atom(total, parts, self._complement_places[rest])
            place = self._complement_places[rest]
            self.margins.relations.append(Relation(total, (*places, place)))

    def _find_whole_category(self, total: int, parts: tuple[int, ...]) -> tuple[int, int] | None:
        """Return of two cells of the same persons which is a category of which, if one is."""
        if len(parts) != 1:
            return None
        # Whichever of the two was listed first.
        pairs = ((total, parts[0]), (parts[0], total))
        return next((pair for pair in pairs if self.sets.is_category_of(*pair)), None)

    def _note_atom(self, total: int, parts: NDArray[np.int64], place: int) -> None:
        atoms = np.setdiff1d(self._row(total), np.concatenate([self._row(int(p)) for p in parts]))
        if len(atoms) == 1:
            self._atoms_of_complements[int(atoms[0])] = place


def _split_by(
    totals: NDArray[np.int64], parts: NDArray[np.int64], keys: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each total with its parts of one key."""
    order = np.lexsort((parts, keys, totals))
    totals, parts, keys = totals[order], parts[order], keys[order]
    changes = np.flatnonzero((np.diff(totals) != 0) | (np.diff(keys) != 0)) + 1
    for first, last in pairwise([0, *changes.tolist(), len(totals)]):
        if first < last:
            yield int(totals[first]), parts[first:last]


def _to_rows(
    columns: Sequence[NDArray[np.integer]], values: Sequence[NDArray[np.float64]], width: int
) -> sparse.csr_matrix:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in columns])])
    indices = np.concatenate(columns) if columns else np.zeros(0, np.int64)
    data = np.concatenate(values) if values else np.zeros(0)
    matrix = sparse.csr_matrix((data, indices, starts), shape=(len(columns), width))
    matrix.sort_indices()
    return matrix


def _to_fixed_point(amounts: NDArray[np.float64]) -> NDArray[np.uint64]:
    # To a millionth: sums of floats differ in their last digits by their order.
    return np.rint(amounts * 1e6).astype(np.int64).astype(np.uint64)
