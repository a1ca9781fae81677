"""The points of a published score, part by part: what is not known has none, and is never 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ScorePoints"]


@dataclass(frozen=True)
class ScorePoints:
    """The points of each part of a score, in the order of its chart, and what they come to.

    >>> partial = ScorePoints({"length of stay": 4, "comorbidity": None})
    >>> partial.total, partial.lower_bound, partial.missing
    (None, 4, ('comorbidity',))
    """

    # By part; None where it is missing.
    points: Mapping[str, int | None]

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the parts without which there is no total."""
        return tuple(name for name, points in self.points.items() if points is None)

    @property
    def lower_bound(self) -> int:
        """Return the sum of what is known: the score is at least that."""
        return sum(points or 0 for points in self.points.values())

    @property
    def total(self) -> int | None:
        """Return the score; None where a part is missing."""
        return None if self.missing else self.lower_bound
