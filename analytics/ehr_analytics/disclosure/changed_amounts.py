"""What the same persons give in two cells: records that came late change it for few."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ehr_analytics.disclosure.additive_layers import PersonSets

__all__ = ["count_changed_amounts"]

# Amounts are added up in an order of their own each time.
_ROUNDING = 1e-9


def count_changed_amounts(
    sets: PersonSets,
    first: Sequence[int],
    second: Sequence[int],
    is_compared: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Count the persons of both cells of a pair who give another amount in the second.

    The same people with a visit that came late are another number: its difference is that visit.
    0 for pairs that are not compared, and where a cell has no amounts.
    """
    changed = np.zeros(is_compared.shape, np.int64)
    # What is released again and again is compared once.
    known: dict[tuple[bytes, bytes], int] = {}
    for row, column in zip(*(each.tolist() for each in np.nonzero(is_compared)), strict=True):
        one, other = first[row], second[column]
        own, earlier = sets.amounts[one], sets.amounts[other]
        if own is None or earlier is None:
            continue
        pair = (_digest(sets, one), _digest(sets, other))
        if pair not in known:
            _, here, there = np.intersect1d(
                sets.numbers[one], sets.numbers[other], assume_unique=True, return_indices=True
            )
            is_same = np.isclose(own[here], earlier[there], rtol=_ROUNDING, atol=_ROUNDING)
            known[pair] = int((~is_same).sum())
        changed[row, column] = known[pair]
    return changed


def _digest(sets: PersonSets, place: int) -> bytes:
    content = hashlib.blake2b(sets.numbers[place].tobytes(), digest_size=16)
    amounts = sets.amounts[place]
    content.update(b"" if amounts is None else amounts.tobytes())
    return content.digest()
