"""Classes of a number by their lower bounds, as the tables of published scores have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Classes:
    """Points by class: `bounds` are the lower bounds of every class after the first.

    >>> visits = Classes(bounds=(1, 4), points=(0, 2, 5))
    >>> [visits.find(value) for value in (0, 1, 3, 4, None, -1)]
    [0, 2, 2, 5, None, None]
    """

    bounds: Sequence[float]
    points: Sequence[int]

    def find(self, value: float | None) -> int | None:
        """Return the points of a number; None of what is not known or below 0."""
        if value is None or not value >= 0:
            return None
        return self.points[sum(value >= bound for bound in self.bounds)]
