"""What follows from acting on a prediction: net benefit by threshold, figures by share of alerts.

Net benefit is that of Vickers and Elkin (Med Decis Making 2006;26:565): true positives per row less
false positives per row, weighted by the odds of the threshold probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_models.evaluation.bootstrap import Interval, Statistic, to_interval
from ehr_models.evaluation.sample import FloatArray, IntArray, Sample

# Threshold probabilities of the decision curve, and the shares of rows that raise an alert.
DECISION_THRESHOLDS = tuple(number / 100 for number in range(1, 51))
ALERT_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)


@dataclass(frozen=True)
class DecisionPoint:
    """Net benefit at one threshold probability, and that of treating all; of none it is 0."""

    threshold: float
    net_benefit: Interval
    treat_all: float
    # Alerts with the outcome, or without it, whichever are the fewer but some: net benefit is
    # made of the two.
    smallest_cell: int

    def list_figures_of_few(self, minimum: int) -> frozenset[str]:
        """Return the figures that tell of fewer rows than the minimum."""
        return frozenset({"net_benefit"} if 0 < self.smallest_cell < minimum else ())


@dataclass(frozen=True)
class AlertPoint:
    """What comes of alerts for the share of rows that ranks highest.

    `alert_rate` is the share reached: rows of equal rank all raise an alert or none does.
    """

    wanted_rate: float
    threshold: float
    alert_rate: float
    alerts: int
    true_alerts: int
    missed: int
    sensitivity: Interval
    specificity: Interval
    positive_predictive_value: Interval
    negative_predictive_value: Interval

    def list_figures_of_few(self, minimum: int) -> frozenset[str]:
        """Return the figures that tell of fewer rows than the minimum."""
        hidden = set[str]()
        if min(self.true_alerts, self.missed) < minimum:
            hidden.add("sensitivity")
        if min(self.true_alerts, self.alerts - self.true_alerts) < minimum:
            hidden.add("positive_predictive_value")
        if self.alerts - self.true_alerts < minimum:
            hidden.add("specificity")
        if self.missed < minimum:
            hidden.add("negative_predictive_value")
        return frozenset(hidden)


class ThresholdCounts:
    """A statistic for `bootstrap`: rows and outcomes at or above each of some thresholds.

    Called with the persons' weights it returns 2 x (thresholds + 1): all rows, then the rows at or
    above each threshold; and the outcomes among them.
    """

    def __init__(self, sample: Sample, values: FloatArray, thresholds: FloatArray) -> None:
        self._people = sample.people
        # Thresholds may come in any order and twice.
        ordered, self._place = np.unique(thresholds, return_inverse=True)
        level = np.searchsorted(ordered, values, "right")
        self._levels = len(ordered) + 1
        self._cell = level + self._levels * sample.outcome.astype(np.int64)

    def __call__(self, weights: IntArray) -> FloatArray:
        """Return the counts under these weights of the persons."""
        cells = np.bincount(
            self._cell, weights=weights[self._people], minlength=2 * self._levels
        ).reshape(2, self._levels)
        above = cells[:, ::-1].cumsum(axis=1)[:, ::-1]
        columns = np.r_[0, self._place + 1]
        return np.stack([above.sum(axis=0)[columns], above[1][columns]])


def choose_alert_thresholds(ranking: FloatArray, rates: tuple[float, ...]) -> FloatArray:
    """Return the rank from which on a row raises an alert, for each share of rows.

    The share is reached at least; more where rows of equal rank straddle it.
    """
    descending = np.sort(ranking)[::-1]
    last = np.ceil(np.asarray(rates) * len(ranking)).astype(int) - 1
    return np.asarray(descending[np.clip(last, 0, len(ranking) - 1)])


def decision_counts(sample: Sample, probability: FloatArray) -> Statistic:
    """Return the statistic behind `read_decision_curve`."""
    return ThresholdCounts(sample, probability, np.asarray(DECISION_THRESHOLDS))


def read_decision_curve(counts: FloatArray) -> tuple[DecisionPoint, ...]:
    """Return the decision curve from bootstrapped counts."""
    rows, outcomes = counts[:, 0], counts[:, 1]
    prevalence = outcomes[0, 0] / rows[0, 0]
    points = []
    for number, threshold in enumerate(DECISION_THRESHOLDS, start=1):
        odds = threshold / (1 - threshold)
        true, alerts = outcomes[:, number], rows[:, number]
        benefit = (true - (alerts - true) * odds) / rows[:, 0]
        treat_all = float(prevalence - (1 - prevalence) * odds)
        cells = [int(cell) for cell in (true[0], alerts[0] - true[0]) if cell]
        smallest = min(cells, default=0)
        points.append(DecisionPoint(threshold, to_interval(benefit), treat_all, smallest))
    return tuple(points)


def read_alert_points(
    counts: FloatArray, thresholds: FloatArray, rates: tuple[float, ...]
) -> tuple[AlertPoint, ...]:
    """Return the figures at fixed shares of alerts from bootstrapped counts."""
    rows, outcomes = counts[:, 0], counts[:, 1]
    everyone, cases = rows[:, 0], outcomes[:, 0]
    points = []
    for number, (rate, threshold) in enumerate(zip(rates, thresholds, strict=True), start=1):
        alerts, true = rows[:, number], outcomes[:, number]
        false, silent, missed = alerts - true, everyone - alerts, cases - true
        points.append(
            AlertPoint(
                wanted_rate=rate,
                threshold=float(threshold),
                alert_rate=float(alerts[0] / everyone[0]),
                alerts=int(alerts[0]),
                true_alerts=int(true[0]),
                missed=int(missed[0]),
                sensitivity=_ratio(true, cases),
                specificity=_ratio(everyone - cases - false, everyone - cases),
                positive_predictive_value=_ratio(true, alerts),
                negative_predictive_value=_ratio(silent - missed, silent),
            )
        )
    return tuple(points)


def _ratio(part: FloatArray, whole: FloatArray) -> Interval:
    return to_interval(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0))
