"""All figures of one predictor, read from one set of resamples that all predictors share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ehr_models.evaluation.bootstrap import Interval, Statistic, to_interval
from ehr_models.evaluation.calibration import Calibration, measure_calibration
from ehr_models.evaluation.decisions import (
    ALERT_RATES,
    AlertPoint,
    DecisionPoint,
    ThresholdCounts,
    choose_alert_thresholds,
    decision_counts,
    read_alert_points,
    read_decision_curve,
)
from ehr_models.evaluation.discrimination import (
    AUPRC,
    AUROC,
    AVERAGE_PRECISION,
    RankingStatistic,
    coarsen_curve,
)
from ehr_models.evaluation.sample import FloatArray, IntArray, Sample
from ehr_privacy.disclosure import POLICIES

# Steps at which the curves are read: between points that have so many people of each outcome
# between them, so that no two tell of fewer (the least people of the policy of releases).
_STEPS = np.linspace(0, 1, 41)
FEWEST_BETWEEN_POINTS = POLICIES["opensafely-7-5"].min_persons
_QUANTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class Curve:
    """Points of a curve."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Distribution:
    """Percentiles 5, 25, 50, 75 and 95 of the prediction of rows with one outcome."""

    outcome: bool
    mean: float
    percentiles: tuple[float, ...]


@dataclass(frozen=True)
class Performance:
    """Discrimination, accuracy, calibration and use of one predictor."""

    auroc: Interval
    auprc: Interval
    average_precision: Interval
    brier: Interval
    # 1 is perfect, 0 as good as the prevalence, below 0 worse.
    scaled_brier: Interval
    calibration: Calibration
    roc: Curve
    precision_recall: Curve
    decision_curve: tuple[DecisionPoint, ...]
    alerts: tuple[AlertPoint, ...]
    distribution: tuple[Distribution, ...]


@dataclass(frozen=True)
class Difference:
    """Figures of the model less those of a comparator, on the same resamples."""

    comparator: str
    auroc: Interval
    average_precision: Interval
    # Above 0 the comparator's error is the larger one: as for the other two, more is better.
    brier_saved: Interval


class BrierStatistic:
    """A statistic for `bootstrap`: the Brier score, and that of the prevalence."""

    def __init__(self, sample: Sample, probability: FloatArray) -> None:
        squared = (probability - sample.outcome) ** 2
        count = sample.person_count
        self._squared = np.bincount(sample.people, weights=squared, minlength=count)
        self._outcomes = np.bincount(sample.people, weights=sample.outcome, minlength=count)
        self._rows = np.bincount(sample.people, minlength=count)

    def __call__(self, weights: IntArray) -> FloatArray:
        """Return both scores under these weights of the persons."""
        # No product of matrices: a library for them may divide the sum as it likes, and its threads
        # wait for each other where the machine does more than this.
        rows = (weights * self._rows).sum()
        prevalence = float((weights * self._outcomes).sum() / rows)
        brier = float((weights * self._squared).sum() / rows)
        return np.array([brier, prevalence * (1 - prevalence)])


@dataclass(frozen=True)
class Predictor:
    """A predictor's probabilities, and what it ranks by: points, or the probabilities."""

    probability: FloatArray
    ranking: FloatArray

    def statistics(self, sample: Sample) -> tuple[Statistic, ...]:
        """Return what is bootstrapped of this predictor, in the order of `read_performance`."""
        thresholds = choose_alert_thresholds(self.ranking, ALERT_RATES)
        return (
            RankingStatistic(sample.outcome, self.ranking, sample.people),
            BrierStatistic(sample, self.probability),
            decision_counts(sample, self.probability),
            ThresholdCounts(sample, self.ranking, thresholds),
        )

    def read_performance(
        self, sample: Sample, values: tuple[FloatArray, FloatArray, FloatArray, FloatArray]
    ) -> Performance:
        """Return the figures from the bootstrapped values of `statistics`."""
        ranking, brier, decisions, alerts = values
        thresholds = choose_alert_thresholds(self.ranking, ALERT_RATES)
        curve = coarsen_curve(sample.outcome, self.ranking, sample.people, FEWEST_BETWEEN_POINTS)
        return Performance(
            auroc=to_interval(ranking[:, 0, AUROC]),
            auprc=to_interval(ranking[:, 0, AUPRC]),
            average_precision=to_interval(ranking[:, 0, AVERAGE_PRECISION]),
            brier=to_interval(brier[:, 0]),
            scaled_brier=to_interval(_scale(brier)),
            calibration=measure_calibration(sample.outcome, self.probability, sample.people),
            roc=_to_curve(_STEPS, curve.read_roc(_STEPS)),
            precision_recall=_to_curve(_STEPS[1:], curve.read_precision(_STEPS[1:])),
            decision_curve=read_decision_curve(decisions),
            alerts=read_alert_points(alerts, thresholds, ALERT_RATES),
            distribution=tuple(
                _describe(self.probability[sample.outcome == value], bool(value))
                for value in (0, 1)
            ),
        )


def compare(
    model: tuple[FloatArray, FloatArray], comparators: Mapping[str, tuple[FloatArray, FloatArray]]
) -> tuple[Difference, ...]:
    """Return paired differences from the bootstrapped ranking and Brier values of each."""
    return tuple(
        Difference(
            comparator=name,
            auroc=to_interval(model[0][:, 0, AUROC] - ranking[:, 0, AUROC]),
            average_precision=to_interval(
                model[0][:, 0, AVERAGE_PRECISION] - ranking[:, 0, AVERAGE_PRECISION]
            ),
            brier_saved=to_interval(brier[:, 0] - model[1][:, 0]),
        )
        for name, (ranking, brier) in comparators.items()
    )


def _scale(brier: FloatArray) -> FloatArray:
    worst = brier[:, 1]
    ratio = np.divide(brier[:, 0], worst, out=np.full(len(worst), np.nan), where=worst > 0)
    return np.asarray(1 - ratio)


def _to_curve(x: FloatArray, y: FloatArray) -> Curve:
    return Curve(tuple(map(float, x)), tuple(map(float, y)))


def _describe(probability: FloatArray, outcome: bool) -> Distribution:
    return Distribution(
        outcome,
        float(probability.mean()),
        tuple(map(float, np.percentile(probability, _QUANTILES))),
    )
