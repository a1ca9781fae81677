"""Recalibration of a model on new data: its intercept, intercept and slope, or isotonic regression.

Each way is judged by cross-fitting: learnt on some persons, judged on the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from ehr_models.evaluation.bootstrap import SEED, Interval
from ehr_models.evaluation.calibration import (
    fit_intercept,
    fit_weak_calibration,
    smooth,
    to_logit,
)
from ehr_models.evaluation.sample import FloatArray, IntArray, Sample

# Isotonic regression overfits below about a thousand rows (Niculescu-Mizil and Caruana, ICML 2005);
# here outcomes are counted, as they are the rarer.
MINIMUM_ISOTONIC_OUTCOMES = 1000
_FOLDS = 5

Recalibrate = Callable[[FloatArray], FloatArray]
Learn = Callable[[FloatArray, FloatArray, IntArray], Recalibrate]


@dataclass(frozen=True)
class Recalibration:
    """How predictions agree with outcomes after one way of recalibration; `none` is as they are.

    `added` and `factor` are the intercept and slope learnt on all rows, None where there are none.
    """

    method: str
    added: float | None
    factor: float | None
    brier: float
    eavg: float
    in_the_large: Interval
    slope: Interval


def shift_intercept(outcome: FloatArray, probability: FloatArray, people: IntArray) -> Recalibrate:
    """Learn what is added to the logit for the mean prediction to be the observed share."""
    added = fit_intercept(outcome, probability, people).value
    return lambda other: np.asarray(expit(to_logit(other) + added))


def scale_logit(outcome: FloatArray, probability: FloatArray, people: IntArray) -> Recalibrate:
    """Learn intercept and slope of the logit (logistic recalibration, Cox 1958)."""
    added, factor = (
        interval.value for interval in fit_weak_calibration(outcome, probability, people)
    )
    if np.isnan(factor):
        return shift_intercept(outcome, probability, people)
    return lambda other: np.asarray(expit(added + factor * to_logit(other)))


def fit_isotonic(outcome: FloatArray, probability: FloatArray, people: IntArray) -> Recalibrate:
    """Learn the best step function that never falls."""
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(probability, outcome)
    return lambda other: np.asarray(fitted.predict(other), dtype=float)


def compare_recalibrations(sample: Sample, probability: FloatArray) -> tuple[Recalibration, ...]:
    """Judge the predictions as they are and after each way of recalibration."""
    added = fit_intercept(sample.outcome, probability, sample.people).value
    intercept, slope = (
        interval.value
        for interval in fit_weak_calibration(sample.outcome, probability, sample.people)
    )
    results = [
        _judge("none", None, None, sample, probability),
        _judge("intercept", added, 1.0, sample, _cross_fit(shift_intercept, sample, probability)),
        _judge(
            "intercept-and-slope",
            intercept,
            slope,
            sample,
            _cross_fit(scale_logit, sample, probability),
        ),
    ]
    if sample.outcome.sum() >= MINIMUM_ISOTONIC_OUTCOMES:
        recalibrated = _cross_fit(fit_isotonic, sample, probability)
        results.append(_judge("isotonic", None, None, sample, recalibrated))
    return tuple(results)


def _cross_fit(learn: Learn, sample: Sample, probability: FloatArray) -> FloatArray:
    generator = np.random.default_rng(SEED)
    fold = generator.permutation(sample.person_count)[sample.people] % _FOLDS
    recalibrated = probability.copy()
    for number in range(_FOLDS):
        train, test = fold != number, fold == number
        observed = sample.outcome[train]
        # Of one outcome alone nothing is learnt: these rows stay as they are.
        if test.any() and train.any() and observed.min() < observed.max():
            recalibrate = learn(observed, probability[train], sample.people[train])
            recalibrated[test] = recalibrate(probability[test])
    return recalibrated


def _judge(
    method: str,
    added: float | None,
    factor: float | None,
    sample: Sample,
    probability: FloatArray,
) -> Recalibration:
    outcome = sample.outcome
    return Recalibration(
        method=method,
        added=added,
        factor=factor,
        brier=float(np.mean((probability - outcome) ** 2)),
        eavg=float(np.abs(smooth(outcome, probability) - probability).mean()),
        in_the_large=fit_intercept(outcome, probability, sample.people),
        slope=fit_weak_calibration(outcome, probability, sample.people)[1],
    )
