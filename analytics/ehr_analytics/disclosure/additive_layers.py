"""Quantities that add up over the cells of a release: persons, and amounts of each unit.

Each is a layer: its cells, new and earlier, the relations between them (`margins`), and what is
hidden so that no reader can work a hidden one out (`secondary`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_analytics.disclosure.cells import Cell, EarlierCell
from ehr_analytics.disclosure.classes import find_class
from ehr_analytics.disclosure.margins import CellSets, MarginFinder, Margins, Relation
from ehr_analytics.disclosure.primary import (
    MADE_OF_COUNTS,
    Reason,
    is_of_flags,
    publish_value,
)
from ehr_analytics.disclosure.secondary import Quantities, suppress
from ehr_analytics.disclosure.two_by_two import COUNT_NAMES
from ehr_privacy.disclosure import POLICIES, Policy

__all__ = ["Layer", "PersonSets", "list_layers"]

# What rounding to some digits leaves of a value that is no count: half a unit of the last digit.
_HALF = 0.5
PERSONS = "persons"
# The dimension in which analyses name their figures.
FIGURE = "measure"
# How much dearer it is to hide a count of a two-by-two table or of a model: its ratios go with it.
# Chosen: any other cell is hidden first, where that protects as much.
_DEARER = 1000


@dataclass(frozen=True)
class PersonSets:
    """Persons of new and earlier cells in one numbering, and amounts in the same order."""

    numbers: list[NDArray[np.uint32]]
    amounts: list[NDArray[np.float64] | None]
    persons: int


def list_layers(cells: Sequence[Cell], earlier: Sequence[EarlierCell]) -> list[str]:
    """Return the additive quantities: persons, and each unit of which persons give amounts."""
    return sorted(
        {layer for cell in cells for layer in _layers_of(cell.statistic, cell.unit, cell.amounts)}
    )


def _layers_of(statistic: str, unit: str, amounts: NDArray[np.float64] | None) -> tuple[str, ...]:
    """Return the layers of a number.

    Whatever is made of zeros and ones counts persons too: with a published denominator a proportion
    is a count of those who have the outcome, and a survival curve of those with the event by then.
    """
    if statistic == "frequency" and unit == "persons":
        return (PERSONS,)
    statistic_class = find_class(statistic)
    if amounts is None:
        return ()
    layers: tuple[str, ...] = (f"amount of {unit}",) if statistic_class.is_additive else ()
    is_count = statistic_class.is_additive or statistic_class.name == "hazards-and-survival"
    # The exact limits of a rate are those of one number of events.
    is_count |= statistic == "confidence-limit" and not (amounts == 1).all()
    if is_count and is_of_flags(amounts):
        layers += (PERSONS,)
    return layers


@dataclass(frozen=True)
class LayerOutcome:
    hidden: tuple[int, ...]
    programs: int
    relations: int
    unprotected: int
    known_before: int
    overlaps_left: int


class Layer:
    """All cells, new and earlier, of one quantity that adds up."""

    def __init__(
        self,
        cells: Sequence[Cell],
        earlier: Sequence[EarlierCell],
        sets: PersonSets,
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
        self.is_persons = name == PERSONS
        self.new = [
            place
            for place, cell in enumerate(cells)
            if name in _layers_of(cell.statistic, cell.unit, sets.amounts[place])
        ]
        self.old = [
            place
            for place, cell in enumerate(self.earlier)
            if name in _layers_of(cell.statistic, cell.unit, cell.amounts)
        ]
        self._categories = self._list_categories()
        self._siblings = self._list_siblings()

    def protect(self) -> LayerOutcome:
        """Hide what keeps the hidden ones hidden."""
        margins = self._find_margins()
        if self.is_persons:
            # Everybody has it: the table tells it of each of them.
            for total, part in margins.whole_categories:
                places = self.new[total], self.new[part]
                if not any(self.reasons[place] for place in places):
                    self.reasons[places[1]] = Reason.ONE_SIDED
            margins.relations = self._leave_out_unknown(margins)
        quantities = self._to_quantities(margins)
        outcome = suppress(quantities, margins.relations)
        hidden = [
            place
            for place, is_hidden in zip(self.new, outcome.is_hidden[: len(self.new)], strict=True)
            if is_hidden
        ]
        return LayerOutcome(
            tuple(hidden),
            outcome.programs,
            len(margins.relations),
            len(outcome.unprotected),
            len(outcome.known_before),
            margins.overlaps_left,
        )

    def _leave_out_unknown(self, margins: Margins) -> list[Relation]:
        """Leave out relations that hold only since a hidden category has everybody in it.

        Who does not see that all are in the north cannot add what is known of all up to the north.
        """
        own_labels = {
            part: set(self.cells[self.new[part]].labels) - set(self.cells[self.new[total]].labels)
            for total, part in margins.whole_categories
            if self.reasons[self.new[part]]
        }

        def is_known(relation: Relation) -> bool:
            members = (relation.total, *relation.parts)
            if not own_labels.keys() & set(members) or max(members) >= len(self.new):
                return True
            labels = {place: set(self.cells[self.new[place]].labels) for place in members}
            own = own_labels.get(relation.total, set())
            if not all(own <= labels[part] for part in relation.parts):
                return False
            shared = set.intersection(*(labels[part] for part in relation.parts))
            return not any(
                own_labels.get(part, set()) & shared - labels[relation.total]
                for part in relation.parts
            )

        return [relation for relation in margins.relations if is_known(relation)]

    def _find_margins(self) -> Margins:
        places = [*self.new, *(len(self.cells) + place for place in self.old)]
        numbers = [self._numbers(place) for place in places]
        amounts = [self._amounts(place) for place in places]
        sets = CellSets(
            numbers, amounts, self._number_groups(), self.sets.persons, self._is_category_of
        )
        return MarginFinder(sets, self.policy.min_persons).find()

    def _numbers(self, place: int) -> NDArray[np.uint32]:
        """Return the persons who add to a number: of a proportion those with the outcome."""
        numbers, amounts = self.sets.numbers[place], self.sets.amounts[place]
        return numbers if not self.is_persons or amounts is None else numbers[amounts != 0]

    def _amounts(self, place: int) -> NDArray[np.float64]:
        amounts = self.sets.amounts[place]
        if self.is_persons or amounts is None:
            return np.ones(len(self._numbers(place)))
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
        cell, whole = self.cells[self.new[part]], self.cells[self.new[total]]
        if cell.contributions is not None or whole.contributions is not None:
            # Not two counts of persons: a proportion beside the count that it is made of.
            return False
        if total > part and not set(whole.labels) <= set(cell.labels):
            return False
        own = set(cell.labels) - set(whole.labels)
        return any(
            len(self._categories[cell.table, name]) > 1
            # Across tables the name of a figure, "people" here and "left" there, is no category;
            # and where other categories have people, these are not of that whole: the two cells
            # are of the same category in other words.
            and (cell.table == whole.table or not (name == FIGURE or self._has_others(part, name)))
            for name, _ in own
        )

    def _has_others(self, part: int, name: str) -> bool:
        """Say whether another category of a dimension has people, and none of those of this one."""
        cell = self.cells[self.new[part]]
        own = self._numbers(self.new[part])
        return any(
            len(others) and not len(np.intersect1d(own, others, assume_unique=True))
            for others in map(self._numbers, self._siblings[_find_siblings(cell, name)])
        )

    def _list_siblings(self) -> dict[object, list[int]]:
        """Return the cells that differ in the category of one dimension alone."""
        siblings: dict[object, list[int]] = {}
        for place in self.new:
            for name, _ in self.cells[place].labels:
                key = _find_siblings(self.cells[place], name)
                siblings.setdefault(key, []).append(place)
        return siblings

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
            if complement.persons >= self.policy.min_persons:
                width = 0.0
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
        shown = publish_value(cell, self.policy)
        low, high = _find_published_interval(
            cell.statistic, shown, len(cell.persons), value, self.policy,
            is_of_counts=self.is_persons and cell.statistic in MADE_OF_COUNTS,
        )  # fmt: skip
        floor = 0.0 if not (amounts < 0).any() else -math.inf
        is_dear = dict(cell.labels).get(FIGURE) in COUNT_NAMES or ("term", "all") in cell.labels
        dearer = _DEARER if is_dear else 1
        return _Row(
            value, low, high, floor,
            self._protection(amounts) if reason else 0.0,
            (1.0 + math.log1p(abs(value))) * dearer, reason is not None,
        )  # fmt: skip

    def _describe_earlier(self, place: int) -> _Row:
        earlier = self.earlier[place]
        amounts = self._amounts(len(self.cells) + place)
        value = float(amounts.sum())
        if earlier.shown is None:
            return _Row(
                value, 0.0, math.inf, 0.0, self._protection(amounts), math.inf, is_hidden=True
            )
        # Of a policy that is not known the reader knows the most.
        policy = POLICIES.get(earlier.policy, POLICIES["acro-10"])
        persons = len(earlier.persons) + earlier.erased
        low, high = _find_published_interval(
            earlier.statistic, earlier.shown, persons, value, policy,
            is_of_counts=self.is_persons and earlier.policy != ""
            and earlier.statistic in MADE_OF_COUNTS,
        )  # fmt: skip
        return _Row(value, low, high, 0.0, 0.0, math.inf, is_hidden=False)

    def _protection(self, amounts: NDArray[np.float64]) -> float:
        if self.is_persons:
            return float(self.policy.protection)
        return max(float(np.abs(amounts).max(initial=0)), 1.0)


def _find_siblings(cell: Cell, name: str) -> object:
    """Return what cells have in common that differ in the category of one dimension."""
    return cell.table, cell.statistic, name, frozenset(own for own in cell.labels if own[0] != name)


def _find_published_interval(
    statistic: str,
    shown: float | None,
    persons: int,
    value: float,
    policy: Policy,
    *,
    is_of_counts: bool,
) -> tuple[float, float]:
    """Return the smallest and largest total, around the true one, that a reader can think of.

    `shown` is what was published of it, by a policy; None is taken for knowing it all.
    """
    if shown is None:
        return value, value
    if statistic == "frequency":
        low, high = policy.interval(round(shown))
        # The number counts the erased too: the interval holds the value anyway.
        return min(low, value), max(high, value)
    if is_of_counts:
        # Made of controlled counts by `publish_value`.
        low, high = policy.interval(policy.control(round(value)) or 0)
        return min(low, value), max(high, value)
    exponent = math.floor(math.log10(abs(shown))) if shown else 0
    half = _HALF * 10.0 ** (exponent + 1 - policy.significant_digits)
    if statistic == "sum":
        spread = half
    elif shown and find_class(statistic).is_additive:
        # A mean, rate or proportion, whose denominator is known.
        spread = half * abs(value / shown)
    else:
        spread = half * persons
    return value - spread, value + spread


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
