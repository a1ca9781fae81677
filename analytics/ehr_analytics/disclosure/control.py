"""Disclosure control of a release: every cell of it at once, and against all earlier releases.

First each cell by itself (`primary`), then differences to earlier releases, then what the other
cells tell of a hidden one (`margins`, `secondary`). The policy is the project's agreement. All is
computed from the persons behind the cells; the file that leaves is written from the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehr_analytics.disclosure.additive_layers import Layer, PersonSets, list_layers
from ehr_analytics.disclosure.cells import Cell, EarlierCell, PersonSet
from ehr_analytics.disclosure.changed_amounts import count_changed_amounts
from ehr_analytics.disclosure.classes import find_class, load_classes
from ehr_analytics.disclosure.primary import (
    Reason,
    find_primary_reason,
    publish_value,
    round_significant,
)
from ehr_analytics.disclosure.published_limits import find_event_counts, publish_limits
from ehr_analytics.disclosure.two_by_two import COUNT_NAMES, RATIOS, find_table, publish_ratios
from ehr_privacy.disclosure import Policy

__all__ = ["ControlledCell", "ControlledRelease", "control_release"]

_LIMIT = "confidence-limit"


@dataclass(frozen=True)
class ControlledCell:
    """A cell with the value that may be shown, or the reason why none is."""

    cell: Cell
    shown: float | None
    reason: Reason | None


@dataclass(frozen=True)
class ControlledRelease:
    """The cells of a release under control, and the record of what was done."""

    cells: tuple[ControlledCell, ...]
    # How many sensitive quantities other cells or earlier releases still reveal.
    unprotected: int
    # Cells whose overlaps with others were too many for the programs.
    unexamined: int
    record: Mapping[str, object]

    @property
    def is_protected(self) -> bool:
        """Whether no reader can work out a hidden cell, and all were looked at."""
        return not self.unprotected and not self.unexamined


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
    published = _publish_values(cells, policy)
    reasons = [find_primary_reason(cell, policy) for cell in cells]
    for place in _find_small_differences(cells, earlier, sets, policy, reasons, published):
        reasons[place] = Reason.DIFFERENCING
    programs = relations = unprotected = known_before = overlaps_left = 0
    for layer in list_layers(cells, earlier):
        outcome = Layer(cells, earlier, sets, layer, policy, reasons).protect()
        for place in outcome.hidden:
            reasons[place] = reasons[place] or Reason.SECONDARY
        programs += outcome.programs
        relations += outcome.relations
        unprotected += outcome.unprotected
        known_before += outcome.known_before
        overlaps_left += outcome.overlaps_left
    for place in _find_ratios_of_hidden(cells, reasons):
        reasons[place] = Reason.SECONDARY
    for place in _find_limits_of_hidden(cells, reasons):
        reasons[place] = Reason.SECONDARY
    controlled = tuple(
        ControlledCell(cell, None if reason else value, reason)
        for cell, value, reason in zip(cells, published, reasons, strict=True)
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
        "known_from_earlier_releases": known_before,
        "overlaps_not_examined": overlaps_left,
    }
    return ControlledRelease(controlled, unprotected, overlaps_left, record)


def _publish_values(cells: Sequence[Cell], policy: Policy) -> list[float | None]:
    """Return the value of each cell as it may be shown, if it may."""
    derived = {**publish_ratios(cells, policy), **publish_limits(cells, policy)}
    return [
        publish_value(cell, policy) if place not in derived else _round(derived[place], policy)
        for place, cell in enumerate(cells)
    ]


def _round(value: float | None, policy: Policy) -> float | None:
    return None if value is None else round_significant(value, policy.significant_digits)


def _find_ratios_of_hidden(cells: Sequence[Cell], reasons: Sequence[Reason | None]) -> list[int]:
    """Return the shown ratios of which a count is hidden, or no part of the release.

    A risk ratio and an odds ratio are two equations of the four counts of their table; hazards
    tell the number of events by their error.
    """
    events = find_event_counts(cells)
    shown = Counter(
        find_table(cell)
        for cell, reason in zip(cells, reasons, strict=True)
        if not reason
        and cell.statistic == "frequency"
        and dict(cell.labels).get("measure") in COUNT_NAMES
    )
    return [
        place
        for place, cell in enumerate(cells)
        if not reasons[place]
        and (
            (cell.statistic in RATIOS and shown[find_table(cell)] < len(COUNT_NAMES))
            or (
                cell.statistic == "hazard-ratio"
                and cell.table in events
                and reasons[events[cell.table]] is not None
            )
        )
    ]


def _find_limits_of_hidden(cells: Sequence[Cell], reasons: Sequence[Reason | None]) -> list[int]:
    """Return the shown confidence limits whose estimate is hidden: it lies between them."""
    hidden = {
        find_table(cell)
        for cell, reason in zip(cells, reasons, strict=True)
        if reason and cell.statistic not in ("frequency", "sum", _LIMIT)
    }
    return [
        place
        for place, cell in enumerate(cells)
        if cell.statistic == _LIMIT and not reasons[place] and find_table(cell) in hidden
    ]


def _number_sets(
    cells: Sequence[Cell],
    earlier: Sequence[EarlierCell],
    number_persons: Callable[[Sequence[str]], NDArray[np.uint32]] | None,
) -> PersonSets:
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
            own = persons + np.searchsorted(others, cell.persons)
            # A release of nobody has no person in common with another.
            if len(platform):
                places = np.searchsorted(platform[order], cell.persons)
                places = np.minimum(places, len(platform) - 1)
                own = np.where(platform[order][places] == cell.persons, order[places], own)
            by_number = np.argsort(own)
            numbers.append(own[by_number].astype(np.uint32))
            amounts.append(None if cell.amounts is None else cell.amounts[by_number])
        persons += len(others)
    return PersonSets(numbers, amounts, persons)


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
    sets: PersonSets,
    policy: Policy,
    reasons: Sequence[Reason | None],
    published: Sequence[float | None],
) -> list[int]:
    """Return the cells whose persons, or what these give, differ from another cell's by few.

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
        only_second = pairs.only_second + erased
        changed = count_changed_amounts(
            sets, new, old, np.maximum(pairs.only_first, only_second) < policy.min_persons
        )
        is_close = _is_small_difference(pairs.only_first + changed, only_second + changed, policy)
        is_same = (pairs.only_first == 0) & (only_second == 0)
        found += [
            new[row]
            for row in np.flatnonzero(is_close.any(axis=1)).tolist()
            if not any(
                _says_the_same(
                    cells[new[row]], published[new[row]], earlier[old[column] - len(cells)]
                )
                for column in np.flatnonzero(is_same[row]).tolist()
            )
        ]
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


def _says_the_same(cell: Cell, published: float | None, earlier: EarlierCell) -> bool:
    """Say whether a cell shows what an earlier one of the same persons has shown already."""
    return earlier.statistic == cell.statistic and earlier.shown == published


@dataclass(frozen=True)
class _Differences:
    """Persons in the first cell of each pair alone, and in the second alone."""

    only_first: NDArray[np.int64]
    only_second: NDArray[np.int64]


def _count_differences(
    sets: PersonSets, first: Sequence[int], second: Sequence[int]
) -> _Differences:
    rows, columns = _to_matrix(sets, first), _to_matrix(sets, second)
    overlaps = np.rint((rows @ columns.T).toarray()).astype(np.int64)
    sizes_first = np.array([len(sets.numbers[place]) for place in first], np.int64)
    sizes_second = np.array([len(sets.numbers[place]) for place in second], np.int64)
    return _Differences(sizes_first[:, None] - overlaps, sizes_second[None, :] - overlaps)


def _to_matrix(sets: PersonSets, places: Sequence[int]) -> sparse.csr_matrix:
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
