"""AUROC, average precision and AUPRC of a ranking, under any weights of the persons.

AUROC is the Mann-Whitney form: a pair of equal rank counts half. Average precision is the step sum
of scikit-learn. AUPRC integrates between the steps as Davis and Goadrich (ICML 2006) do, where
precision is not linear in recall; the R package PRROC, which PatientLevelPrediction calls, does so
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np

from ehr_models.evaluation.sample import FloatArray, IntArray

AUROC, AVERAGE_PRECISION, AUPRC = range(3)

_Number = TypeVar("_Number", FloatArray, IntArray)


class RankingStatistic:
    """A statistic for `bootstrap`: the three figures of a ranking, whole or per group.

    Called with the persons' weights it returns an array of groups x 3 (`AUROC`,
    `AVERAGE_PRECISION`, `AUPRC`); NaN where a group has no row of one outcome.

    The work is one cumulative sum over the sorted rows of each outcome, read at the steps of equal
    rank that hold a positive: elsewhere recall does not change.
    """

    def __init__(
        self,
        outcome: FloatArray,
        ranking: FloatArray,
        people: IntArray,
        group: IntArray | None = None,
    ) -> None:
        segment = np.zeros(len(outcome), dtype=np.int64) if group is None else group
        distinct, rank = np.unique(ranking, return_inverse=True)
        # One number orders by group, then by rank.
        key = segment * len(distinct) + rank
        positive, negative = (_sort_by(key, np.flatnonzero(outcome == value)) for value in (1, 0))
        self._positive_people, self._negative_people = people[positive], people[negative]
        positive_keys, negative_keys = key[positive], key[negative]
        steps = np.unique(positive_keys)
        self._positives_before = np.searchsorted(positive_keys, steps, "left")
        self._positives_through = np.searchsorted(positive_keys, steps, "right")
        self._negatives_before = np.searchsorted(negative_keys, steps, "left")
        self._negatives_through = np.searchsorted(negative_keys, steps, "right")
        bounds = np.arange(int(segment.max()) + 2) * len(distinct)
        self._positive_bounds = np.searchsorted(positive_keys, bounds)
        self._negative_bounds = np.searchsorted(negative_keys, bounds)
        self._step_bounds = np.searchsorted(steps, bounds)
        self._group_of_step = steps // len(distinct)

    def __call__(self, weights: IntArray) -> FloatArray:
        """Return the figures under these weights of the persons."""
        positives = _cumulate(weights[self._positive_people])
        negatives = _cumulate(weights[self._negative_people])
        all_positives = np.diff(positives[self._positive_bounds])
        all_negatives = np.diff(negatives[self._negative_bounds])
        group = self._group_of_step
        # Of each step: its own positives and negatives, and those ranked higher in its group.
        own = positives[self._positives_through] - positives[self._positives_before]
        own_negatives = negatives[self._negatives_through] - negatives[self._negatives_before]
        higher = positives[self._positive_bounds[group + 1]] - positives[self._positives_through]
        higher_negatives = (
            negatives[self._negative_bounds[group + 1]] - negatives[self._negatives_through]
        )
        lower_negatives = (
            negatives[self._negatives_before] - negatives[self._negative_bounds[group]]
        )

        twice_ranked_below = own * (2 * lower_negatives + own_negatives)
        alerts = np.maximum(higher + own + higher_negatives + own_negatives, 1)
        figures = (
            self._sum(twice_ranked_below) / 2,
            self._sum(own * ((higher + own) / alerts)),
            self._sum(_integrate_precision(higher, higher_negatives, own, own_negatives)),
        )
        pairs = (all_positives * all_negatives).astype(float)
        divisors = (pairs, all_positives, all_positives)
        result = np.full((len(pairs), 3), np.nan)
        for column, (figure, divisor) in enumerate(zip(figures, divisors, strict=True)):
            np.divide(figure, divisor, out=result[:, column], where=pairs > 0)
        return result

    def _sum(self, terms: FloatArray | IntArray) -> FloatArray:
        return np.diff(_cumulate(np.asarray(terms, dtype=float))[self._step_bounds])


def measure_auroc(outcome: FloatArray, ranking: FloatArray) -> float:
    """Return the AUROC of a ranking, NaN where one outcome does not occur.

    >>> measure_auroc(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.4, 0.4, 0.8]))
    0.875
    """
    rows = np.arange(len(outcome))
    statistic = RankingStatistic(outcome, ranking, rows)
    return float(statistic(np.ones(len(rows), dtype=np.int64))[0, AUROC])


@dataclass(frozen=True)
class CoarseCurve:
    """Points of a ranking's curves: false and true positives, from none to all rows."""

    false_positives: FloatArray
    true_positives: FloatArray

    def read_roc(self, at: FloatArray) -> FloatArray:
        """Return the sensitivity at each false positive rate, linear between the points."""
        rate = self.false_positives / self.false_positives[-1]
        return np.asarray(np.interp(at, rate, self.true_positives / self.true_positives[-1]))

    def read_precision(self, at: FloatArray) -> FloatArray:
        """Return the precision at each sensitivity above 0, straight lines between the points."""
        return _read_precision(self.false_positives, self.true_positives, at)


def coarsen_curve(
    outcome: FloatArray, ranking: FloatArray, people: IntArray, fewest: int
) -> CoarseCurve:
    """Return points with `fewest` people or more of each outcome between any two neighbours.

    From two points that are nearer whoever reads a curve could tell how many of a few people had
    the outcome. With fewer people of an outcome in all the curve is the diagonal.
    """
    order = np.argsort(-ranking, kind="stable")
    is_last_of_rank = np.r_[np.diff(ranking[order]) != 0, True]
    ends, since = [0], (set[int](), set[int]())
    for place, row in enumerate(order):
        since[int(outcome[row])].add(int(people[row]))
        if is_last_of_rank[place] and min(map(len, since)) >= fewest:
            ends.append(place + 1)
            since = (set(), set())
    # Those behind the last point are too few, and go with the ones before it.
    ends = [*ends[:-1], len(order)] if len(ends) > 1 else [0, len(order)]
    true_positives = np.r_[0.0, np.cumsum(outcome[order])][ends]
    return CoarseCurve(np.array(ends) - true_positives, true_positives)


def trace_roc(outcome: FloatArray, ranking: FloatArray, at: FloatArray) -> FloatArray:
    """Return the sensitivity at each false positive rate, linear between the curve's points."""
    false_positive_rate, sensitivity = _trace(outcome, ranking)
    rate = false_positive_rate / (outcome == 0).sum()
    return np.asarray(np.interp(at, rate, sensitivity / outcome.sum()))


def _read_precision(
    false_positives: FloatArray, true_positives: FloatArray, at: FloatArray
) -> FloatArray:
    wanted = at * true_positives[-1]
    # Of points with equal sensitivity the first is the end of one stretch, the last the begin of
    # the next.
    end = np.clip(np.searchsorted(true_positives, wanted, "left"), 1, len(true_positives) - 1)
    low, high = true_positives[end - 1], true_positives[end]
    share = (wanted - low) / (high - low)
    between = false_positives[end - 1] * (1 - share) + false_positives[end] * share
    return np.asarray(wanted / (wanted + between))


def _trace(outcome: FloatArray, ranking: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return false and true positives at each threshold, from none to all rows."""
    order = np.argsort(-ranking, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(ranking[order]) != 0, True])
    true_positives = np.cumsum(outcome[order])[last]
    return np.r_[0.0, last + 1 - true_positives], np.r_[0.0, true_positives]


def _integrate_precision(
    higher: IntArray, higher_negatives: IntArray, own: IntArray, own_negatives: IntArray
) -> FloatArray:
    """Integrate precision over the positives of each step, negatives spread evenly among them.

    With T, F ranked higher and a, b in the step, and r = 1 + b/a, the integral of
    (T + x) / (T + F + r x) over x from 0 to a is
    a/r + (T - (T + F)/r) / r * ln((T + F + a + b) / (T + F)).
    """
    before = higher + higher_negatives
    has_own = own > 0
    slope = 1 + np.divide(own_negatives, own, out=np.zeros(len(own)), where=has_own)
    # The first step has nothing above it: its precision is the same throughout, and the term is 0.
    after = before + own + own_negatives
    growth = np.divide(after, before, out=np.ones(len(own)), where=has_own & (before > 0))
    return np.asarray(own / slope + (higher - before / slope) / slope * np.log(growth))


def _sort_by(key: IntArray, rows: IntArray) -> IntArray:
    return rows[np.argsort(key[rows], kind="stable")]


def _cumulate(terms: _Number) -> _Number:
    """Return the sums of the first 0, 1, ... terms."""
    sums = np.zeros(len(terms) + 1, dtype=terms.dtype)
    np.cumsum(terms, out=sums[1:])
    return cast(_Number, sums)
