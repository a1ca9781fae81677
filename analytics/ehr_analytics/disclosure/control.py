"""Disclosure control of a release: every cell of it at once, and against all earlier releases.

First each cell by itself (`primary`), then differences to earlier releases, then what the other
cells tell of a hidden one (`margins`, `secondary`). The policy is the project's agreement. All is
computed from the persons behind the cells; the file that leaves is written from the result.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehr_analytics.disclosure.cells import Cell, PersonSet
from ehr_analytics.disclosure.classes import find_class, load_classes
from ehr_analytics.disclosure.margins import CellSets, MarginFinder, Margins
from ehr_analytics.disclosure.primary import Reason, find_primary_reason, publish_value
from ehr_analytics.disclosure.secondary import Quantities, suppress
from ehr_privacy.disclosure import Policy

__all__ = ["ControlledCell", "ControlledRelease", "EarlierCell", "control_release"]

# What rounding to some digits leaves of a value that is no count: half a unit of the last digit.
_HALF = 0.5


@dataclass(frozen=True)
class ControlledCell:
    """A cell with the value that may be shown, or the reason why none is."""

    cell: Cell
    shown: float | None
    reason: Reason | None


@dataclass(frozen=True)
class EarlierCell:
    """A cell of an earlier release: whom it was about, and what was shown.

    `persons` are numbers of the platform's own. `erased` persons were taken out of it since.
    """

    release: str
    statistic: str
    unit: str
    persons: NDArray[np.uint32]
    amounts: NDArray[np.float64] | None
    shown: float | None
    erased: int = 0


@dataclass(frozen=True)
class ControlledRelease:
    """The cells of a release under control, and the record of what was done."""

    cells: tuple[ControlledCell, ...]
    # How many sensitive quantities other cells or earlier releases still reveal.
    unprotected: int
    record: Mapping[str, object]


def control_release(
    cells: Sequence[Cell],
    policy: Policy,
    earlier: Sequence[EarlierCell] = (),
    number_persons: Callable[[Sequence[str]], NDArray[np.uint32]] | None = None,
) -> ControlledRelease:
    """Decide of every cell of a release whether its value may be shown.

    `number_persons` gives the platform's numbers of the persons of this release; earlier releases
    cannot be compared without it.
    """
    sets = _number_sets(cells, earlier, number_persons)
    reasons = [find_primary_reason(cell, policy) for cell in cells]
    for place in _find_small_differences(cells, earlier, sets, policy, reasons):
        reasons[place] = Reason.DIFFERENCING
    programs = relations = unprotected = 0
    for layer in _list_layers(cells, earlier):
        outcome = _Layer(cells, earlier, sets, layer, policy, reasons).protect()
        for place in outcome.hidden:
            reasons[place] = reasons[place] or Reason.SECONDARY
        programs += outcome.programs
        relations += outcome.relations
        unprotected += outcome.unprotected
    controlled = tuple(
        ControlledCell(cell, None if reason else publish_value(cell, policy), reason)
        for cell, reason in zip(cells, reasons, strict=True)
    )
    hidden = Counter(str(reason) for reason in reasons if reason)
    record = {
        "policy": policy.name,
        "policy_version": policy.version,
        "min_persons": policy.min_persons,
        "dominance": [policy.dominance_contributors, policy.dominance_share],
        "p_percent": policy.p_percent,
        "cells": len(cells),
        "hidden": dict(sorted(hidden.items())),
        "relations": relations,
        "linear_programs": programs,
        "earlier_cells_compared": len(earlier),
        "unprotected": unprotected,
    }
    return ControlledRelease(controlled, unprotected, record)


@dataclass(frozen=True)
class _Sets:
    """Persons of new and earlier cells in one numbering, and amounts in the same order."""

    numbers: list[NDArray[np.uint32]]
    amounts: list[NDArray[np.float64] | None]
    persons: int


def _number_sets(
    cells: Sequence[Cell],
    earlier: Sequence[EarlierCell],
    number_persons: Callable[[Sequence[str]], NDArray[np.uint32]] | None,
) -> _Sets:
    names, numbers, amounts = _number_by_name(cells)
    persons = len(names)
    if earlier and number_persons is not None:
        platform = number_persons(names)
        # Persons who are in earlier releases alone come after those of this one.
        others = np.setdiff1d(
            np.concatenate([cell.persons for cell in earlier]), platform, assume_unique=False
        )
        order = np.argsort(platform)
        for cell in earlier:
            places = np.searchsorted(platform[order], cell.persons)
            places = np.minimum(places, len(platform) - 1)
            is_here = platform[order][places] == cell.persons if len(platform) else places < 0
            own = np.where(
                is_here,
                order[places] if len(platform) else places,
                persons + np.searchsorted(others, cell.persons),
            ).astype(np.uint32)
            by_number = np.argsort(own)
            numbers.append(own[by_number])
            amounts.append(None if cell.amounts is None else cell.amounts[by_number])
        persons += len(others)
    return _Sets(numbers, amounts, persons)


def _number_by_name(
    cells: Sequence[Cell],
) -> tuple[Sequence[str], list[NDArray[np.uint32]], list[NDArray[np.float64] | None]]:
    """Return all persons of the cells, each cell's as sorted numbers of these, and its amounts."""
    index = cells[0].persons.index if cells and isinstance(cells[0].persons, PersonSet) else None
    if index is not None and all(
        isinstance(cell.persons, PersonSet) and cell.persons.index is index for cell in cells
    ):
        own = [cell.persons.numbers for cell in cells if isinstance(cell.persons, PersonSet)]
        return index.persons, own, [cell.amounts for cell in cells]
    names: dict[str, int] = {}
    numbers, amounts = [], []
    for cell in cells:
        unsorted = [names.setdefault(person, len(names)) for person in cell.persons]
        order = np.argsort(unsorted)
        numbers.append(np.array(unsorted, np.uint32)[order])
        amounts.append(None if cell.amounts is None else cell.amounts[order])
    return list(names), numbers, amounts


def _find_small_differences(
    cells: Sequence[Cell],
    earlier: Sequence[EarlierCell],
    sets: _Sets,
    policy: Policy,
    reasons: Sequence[Reason | None],
) -> list[int]:
    """Return the cells whose persons differ from those of another cell by few.

    From earlier releases whatever the rounding: who may ask many times averages it out. Within one
    release for what does not add up; sums and counts are left to the linear program.
    """
    compared = len(sets.numbers) - len(cells)
    found: list[int] = []
    keys = [(find_class(cell.statistic).name, cell.unit) for cell in cells]
    old_keys = [(find_class(cell.statistic).name, cell.unit) for cell in earlier[:compared]]
    classes = load_classes()
    for key in sorted(set(keys)):
        new = [place for place, own in enumerate(keys) if own == key and not reasons[place]]
        old = [
            len(cells) + place
            for place, own in enumerate(old_keys)
            if own == key and earlier[place].shown is not None
        ]
        erased = np.array([earlier[place - len(cells)].erased for place in old], np.int64)
        pairs = _count_differences(sets, new, old)
        is_close = _is_small_difference(pairs.only_first, pairs.only_second + erased, policy)
        found += [new[row] for row in np.flatnonzero(is_close.any(axis=1)).tolist()]
        if not classes[key[0]].is_additive:
            pairs = _count_differences(sets, new, new)
            is_close = _is_small_difference(pairs.only_first, pairs.only_second, policy)
            rows, columns = np.nonzero(np.triu(is_close))
            # The smaller of the two goes.
            found += [
                min(new[a], new[b], key=lambda place: (len(cells[place].persons), place))
                for a, b in zip(rows.tolist(), columns.tolist(), strict=True)
            ]
    return found


@dataclass(frozen=True)
class _Differences:
    """Persons in the first cell of each pair alone, and in the second alone."""

    only_first: NDArray[np.int64]
    only_second: NDArray[np.int64]


def _count_differences(sets: _Sets, first: Sequence[int], second: Sequence[int]) -> _Differences:
    rows, columns = _to_matrix(sets, first), _to_matrix(sets, second)
    overlaps = np.rint((rows @ columns.T).toarray()).astype(np.int64)
    sizes_first = np.array([len(sets.numbers[place]) for place in first], np.int64)
    sizes_second = np.array([len(sets.numbers[place]) for place in second], np.int64)
    return _Differences(sizes_first[:, None] - overlaps, sizes_second[None, :] - overlaps)


def _to_matrix(sets: _Sets, places: Sequence[int]) -> sparse.csr_matrix:
    numbers = [sets.numbers[place] for place in places]
    starts = np.concatenate([[0], np.cumsum([len(own) for own in numbers])]).astype(np.int64)
    indices = np.concatenate(numbers) if numbers else np.zeros(0, np.uint32)
    data = np.ones(len(indices), np.float32)
    shape = (len(places), sets.persons)
    return sparse.csr_matrix((data, indices.astype(np.int64), starts), shape=shape)


def _is_small_difference(
    only_first: NDArray[np.int64], only_second: NDArray[np.int64], policy: Policy
) -> NDArray[np.bool_]:
    larger = np.maximum(only_first, only_second)
    return (larger > 0) & (larger < policy.min_persons)


def _list_layers(cells: Sequence[Cell], earlier: Sequence[EarlierCell]) -> list[str]:
    """Return the additive quantities: persons, and each unit of which persons give amounts."""
    found = {_layer_of(cell.statistic, cell.unit, cell.contributions is not None) for cell in cells}
    return sorted(layer for layer in found if layer is not None)


def _layer_of(statistic: str, unit: str, has_amounts: bool) -> str | None:
    if statistic == "frequency" and unit == "persons":
        return "persons"
    if find_class(statistic).is_additive and has_amounts:
        return f"amount of {unit}"
    return None


@dataclass(frozen=True)
class _LayerOutcome:
    hidden: tuple[int, ...]
    programs: int
    relations: int
    unprotected: int


class _Layer:
    """All cells, new and earlier, of one quantity that adds up."""

    def __init__(
        self,
        cells: Sequence[Cell],
        earlier: Sequence[EarlierCell],
        sets: _Sets,
        name: str,
        policy: Policy,
        reasons: list[Reason | None],
    ) -> None:
        self.cells = cells
        self.policy = policy
        self.reasons = reasons
        self.sets = sets
        compared = len(sets.numbers) - len(cells)
        self.earlier = earlier[:compared]
        self.new = [
            place
            for place, cell in enumerate(cells)
            if _layer_of(cell.statistic, cell.unit, cell.contributions is not None) == name
        ]
        self.old = [
            place
            for place, cell in enumerate(self.earlier)
            if _layer_of(cell.statistic, cell.unit, cell.amounts is not None) == name
        ]
        self.is_persons = name == "persons"
        self._categories = self._list_categories()

    def protect(self) -> _LayerOutcome:
        """Hide what keeps the hidden ones hidden."""
        margins = self._find_margins()
        if self.is_persons:
            # Everybody has it: the table tells it of each of them.
            for total, part in margins.whole_categories:
                places = self.new[total], self.new[part]
                if not any(self.reasons[place] for place in places):
                    self.reasons[places[1]] = Reason.ONE_SIDED
        quantities = self._to_quantities(margins)
        outcome = suppress(quantities, margins.relations)
        hidden = [
            place
            for place, is_hidden in zip(self.new, outcome.is_hidden[: len(self.new)], strict=True)
            if is_hidden
        ]
        return _LayerOutcome(
            tuple(hidden), outcome.programs, len(margins.relations), len(outcome.unprotected)
        )

    def _find_margins(self) -> Margins:
        places = [*self.new, *(len(self.cells) + place for place in self.old)]
        numbers = [self.sets.numbers[place] for place in places]
        amounts = [self._amounts(place) for place in places]
        sets = CellSets(
            numbers, amounts, self._number_groups(), self.sets.persons, self._is_category_of
        )
        return MarginFinder(sets, self.policy.min_persons).find()

    def _amounts(self, place: int) -> NDArray[np.float64]:
        amounts = self.sets.amounts[place]
        if self.is_persons or amounts is None:
            return np.ones(len(self.sets.numbers[place]))
        return amounts

    def _number_groups(self) -> NDArray[np.int64]:
        """Return a number for the table and dimensions of each cell."""
        keys: list[object] = [
            (cell.table, tuple(sorted(name for name, _ in cell.labels)), cell.statistic)
            for cell in (self.cells[place] for place in self.new)
        ]
        keys += [("earlier", self.earlier[place].release) for place in self.old]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return np.array([numbers[key] for key in keys], np.int64)

    def _is_category_of(self, total: int, part: int) -> bool:
        """Say whether a cell is one of several categories of another of the same persons."""
        if not self.policy.hides_zero or max(total, part) >= len(self.new):
            return False
        cell = self.cells[self.new[part]]
        own = set(cell.labels) - set(self.cells[self.new[total]].labels)
        return any(len(self._categories[cell.table, name]) > 1 for name, _ in own)

    def _list_categories(self) -> dict[tuple[str, str], set[str]]:
        categories: dict[tuple[str, str], set[str]] = {}
        for place in self.new:
            cell = self.cells[place]
            for name, category in cell.labels:
                categories.setdefault((cell.table, name), set()).add(category)
        return categories

    def _to_quantities(self, margins: Margins) -> Quantities:
        rows = [self._describe(self.cells[place], place) for place in self.new]
        rows += [self._describe_earlier(place) for place in self.old]
        is_of_release = np.zeros(len(rows) + len(margins.complements), bool)
        for relation in margins.relations:
            members = (relation.total, *relation.parts)
            if any(member < len(self.new) for member in members):
                is_of_release[list(members)] = True
        for place, complement in enumerate(margins.complements, len(rows)):
            width = float(self.policy.protection) if self.is_persons else complement.largest
            # What earlier releases reveal among themselves cannot be mended by this one.
            protection = width if is_of_release[place] else 0.0
            rows.append(_Row(complement.value, 0.0, math.inf, 0.0, protection, math.inf, True))
        return Quantities(
            values=np.array([row.value for row in rows]),
            lows=np.array([row.low for row in rows]),
            highs=np.array([row.high for row in rows]),
            floors=np.array([row.floor for row in rows]),
            protections=np.array([row.protection for row in rows]),
            costs=np.array([row.cost for row in rows]),
            is_hidden=np.array([row.is_hidden for row in rows], bool),
        )

    def _describe(self, cell: Cell, place: int) -> _Row:
        amounts = self._amounts(place)
        value = float(amounts.sum())
        reason = self.reasons[place]
        low, high = self._interval(cell, publish_value(cell, self.policy), len(amounts), value)
        floor = 0.0 if not (amounts < 0).any() else -math.inf
        return _Row(
            value, min(low, value), max(high, value), floor,
            self._protection(amounts) if reason else 0.0,
            1.0 + math.log1p(abs(value)), reason is not None,
        )  # fmt: skip

    def _describe_earlier(self, place: int) -> _Row:
        earlier = self.earlier[place]
        amounts = self._amounts(len(self.cells) + place)
        value = float(amounts.sum())
        if earlier.shown is None:
            return _Row(
                value, 0.0, math.inf, 0.0, self._protection(amounts), math.inf, is_hidden=True
            )
        low, high = value, value
        if earlier.statistic == "frequency":
            low, high = self.policy.interval(round(earlier.shown))
        # Another policy's rounding, or persons erased since: the interval holds the value anyway.
        return _Row(value, min(low, value), max(high, value), 0.0, 0.0, math.inf, is_hidden=False)

    def _protection(self, amounts: NDArray[np.float64]) -> float:
        if self.is_persons:
            return float(self.policy.protection)
        return max(float(np.abs(amounts).max(initial=0)), 1.0)

    def _interval(
        self, cell: Cell, published: float | None, persons: int, value: float
    ) -> tuple[float, float]:
        """Return the smallest and largest amount that is published as this value."""
        if published is None:
            return value, value
        if cell.statistic == "frequency":
            return self.policy.interval(round(published))
        digits = self.policy.significant_digits
        exponent = math.floor(math.log10(abs(published))) if published else 0
        half = _HALF * 10.0 ** (exponent + 1 - digits)
        times = 1 if cell.statistic == "sum" else persons
        return (published - half) * times, (published + half) * times


@dataclass(frozen=True)
class _Row:
    """One place of `Quantities`."""

    value: float
    low: float
    high: float
    floor: float
    protection: float
    cost: float
    is_hidden: bool
