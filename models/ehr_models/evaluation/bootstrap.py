"""95 % intervals by a cluster bootstrap: whole persons are drawn, with all their rows.

A resample is a weight per person, so a ranking is sorted once and not once per resample. All
statistics of one evaluation are computed on the same resamples: their differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ehr_models.evaluation.sample import FloatArray, IntArray

# Fixed, so that an evaluation of the same rows gives the same figures; the number is arbitrary.
SEED = 28
RESAMPLES = 1000
_PERCENTILES = (2.5, 97.5)

# From the weight of each person to one or more figures, of the same shape each time.
Statistic = Callable[[IntArray], FloatArray]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def draw_weights(persons: int, resamples: int, seed: int = SEED) -> Iterator[IntArray]:
    """Yield, per resample, how often each person was drawn, with replacement."""
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(generator.integers(0, persons, persons), minlength=persons)


def bootstrap(
    persons: int, statistics: Sequence[Statistic], resamples: int = RESAMPLES, seed: int = SEED
) -> list[FloatArray]:
    """Return per statistic its values: the estimate in row 0, the resamples after it."""
    everybody = np.ones(persons, dtype=np.int64)
    estimates = [np.asarray(statistic(everybody), dtype=float) for statistic in statistics]
    values = [np.empty((resamples + 1, *estimate.shape)) for estimate in estimates]
    for estimate, rows in zip(estimates, values, strict=True):
        rows[0] = estimate
    for number, weights in enumerate(draw_weights(persons, resamples, seed), start=1):
        for statistic, rows in zip(statistics, values, strict=True):
            rows[number] = statistic(weights)
    return values


def to_interval(values: FloatArray) -> Interval:
    """Return the percentile interval of one statistic, as `bootstrap` gives its values.

    Resamples in which the figure is not defined (no person of one outcome drawn) are left out.
    """
    defined = values[1:][~np.isnan(values[1:])]
    low, high = np.percentile(defined, _PERCENTILES) if len(defined) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))
