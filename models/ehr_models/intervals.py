"""AUROC, AUPRC and Brier score with 95 % cluster-bootstrap intervals, patients as clusters.

A resample is a weight per row, so each predictor is sorted once, not once per resample: tens of
times quicker than calling scikit-learn for each (a test holds the figures against it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

# Fixed, so that an evaluation of the same tables gives the same figures; the number itself is
# arbitrary.
SEED = 28

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Performance:
    """Discrimination (AUROC, AUPRC) and accuracy (Brier score) of one predictor."""

    auroc: Interval
    auprc: Interval
    brier: Interval


def measure_performance(
    outcome: FloatArray,
    probability: FloatArray,
    order: FloatArray,
    people: npt.NDArray[np.object_],
    resamples: int,
) -> Performance:
    """Measure a predictor; `order` ranks the rows where the probability itself does not."""
    metrics = _WeightedMetrics(outcome, probability, order)
    estimates = metrics.compute(np.ones(len(outcome)))
    bootstrap = [metrics.compute(weights) for weights in _bootstrap_weights(people, resamples)]
    # A resample without both classes has no AUROC and is left out.
    usable = np.array([triple for triple in bootstrap if not np.isnan(triple[0])])
    if len(usable):
        low, high = np.percentile(usable, [2.5, 97.5], axis=0)
    else:
        low = high = np.full(3, np.nan)
    return Performance(
        *(Interval(*map(float, triple)) for triple in zip(estimates, low, high, strict=True))
    )


class _WeightedMetrics:
    """AUROC, AUPRC and Brier score of one predictor under any weights of its rows."""

    def __init__(self, outcome: FloatArray, probability: FloatArray, order: FloatArray) -> None:
        self._squared_errors = (probability - outcome) ** 2
        self._descending = np.argsort(-order, kind="stable")
        self._outcome = outcome[self._descending]
        ranks = order[self._descending]
        # Rows of equal rank are one step of the curve.
        self._steps = np.flatnonzero(np.r_[True, ranks[1:] != ranks[:-1]])

    def compute(self, weights: FloatArray) -> tuple[float, float, float]:
        """Return AUROC, AUPRC and Brier score; AUROC and AUPRC are NaN where a class is empty."""
        brier = float(weights @ self._squared_errors / weights.sum())
        ordered = weights[self._descending]
        positives = np.add.reduceat(ordered * self._outcome, self._steps)
        negatives = np.add.reduceat(ordered * (1 - self._outcome), self._steps)
        all_positives, all_negatives = positives.sum(), negatives.sum()
        if all_positives == 0 or all_negatives == 0:
            return np.nan, np.nan, np.nan
        true_positives, false_positives = np.cumsum(positives), np.cumsum(negatives)
        # A pair of equal rank counts half (the Mann-Whitney form of the AUROC).
        ranked_below = all_negatives - false_positives + negatives / 2
        auroc = float(positives @ ranked_below / (all_positives * all_negatives))
        # A step without weight adds nothing; its precision may be 0/0.
        predicted = np.maximum(true_positives + false_positives, np.finfo(float).tiny)
        auprc = float(positives @ (true_positives / predicted) / all_positives)
        return auroc, auprc, brier


def _bootstrap_weights(people: npt.NDArray[np.object_], resamples: int) -> Iterator[FloatArray]:
    """Yield, per resample, how often each row's patient was drawn."""
    patient_of_row, patients = pd.factorize(people)
    generator = np.random.default_rng(SEED)
    for _ in range(resamples):
        drawn = generator.integers(0, len(patients), len(patients))
        yield np.bincount(drawn, minlength=len(patients))[patient_of_row].astype(float)
