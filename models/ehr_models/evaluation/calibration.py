"""Calibration: mean, weak and moderate, after Van Calster et al. (J Clin Epidemiol 2016;74:167).

- in the large: mean prediction, observed share, and the intercept of a logistic model whose offset
  is the logit of the prediction (0 is right);
- weak: intercept and slope of a logistic model on that logit (0 and 1 are right);
- moderate: a smooth curve of the observed share against the prediction, and from it the absolute
  errors: mean (Eavg, also called ICI), median (E50), 90th percentile (E90) and largest (Emax),
  after Austin and Steyerberg (Stat Med 2019;38:4051).

Intercepts and slope have cluster-robust 95 % intervals, persons as the clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import expit
from statsmodels.nonparametric.smoothers_lowess import lowess

from ehr_models.evaluation.bootstrap import Interval
from ehr_models.evaluation.sample import FloatArray, IntArray

# A prediction of 0 or 1 has no logit; beyond this it counts as this near to it.
_CLIP = 1e-6
# Of `lowess`: the span and the single pass of rms::val.prob (a robust second pass would take the
# rarer outcome for outliers). Between fits a hundredth of the range apart the curve is straight.
_SPAN, _STEP = 2 / 3, 0.01
_MOST_STEPS, _LONGEST_STEP, _TOLERANCE = 60, 3.0, 1e-9
CURVE_POINTS = 41
BINS = 10
_NORMAL = float(stats.norm.ppf(0.975))
NOT_DEFINED = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class SmoothCurve:
    """The observed share as a smooth function of the prediction, at points over its range."""

    predicted: tuple[float, ...]
    observed: tuple[float, ...]


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of neighbouring predictions: how many, with the outcome, predicted and observed."""

    rows: int
    outcomes: int
    predicted: float
    observed: float

    def list_figures_of_few(self, minimum: int) -> frozenset[str]:
        """Return the figures that tell of fewer rows than the minimum."""
        is_few = min(self.outcomes, self.rows - self.outcomes) < minimum
        return frozenset({"observed"} if is_few else ())


@dataclass(frozen=True)
class Calibration:
    """How well predictions agree with what came."""

    mean_predicted: float
    observed: float
    in_the_large: Interval
    intercept: Interval
    slope: Interval
    eavg: float
    e50: float
    e90: float
    emax: float
    # The straight line through the tenths of the prediction, as of Hosmer and Lemeshow's groups.
    line_intercept: float
    line_slope: float
    curve: SmoothCurve
    bins: tuple[CalibrationBin, ...]


def measure_calibration(
    outcome: FloatArray, probability: FloatArray, people: IntArray
) -> Calibration:
    """Measure the calibration of probabilities; what is not defined is NaN."""
    intercept, slope = fit_weak_calibration(outcome, probability, people)
    smoothed = smooth(outcome, probability)
    errors = np.abs(smoothed - probability)
    bins = _bin(outcome, probability)
    line = _fit_line(bins)
    return Calibration(
        mean_predicted=float(probability.mean()),
        observed=float(outcome.mean()),
        in_the_large=fit_intercept(outcome, probability, people),
        intercept=intercept,
        slope=slope,
        eavg=float(errors.mean()),
        e50=float(np.median(errors)),
        e90=float(np.percentile(errors, 90)),
        emax=float(errors.max()),
        line_intercept=line[0],
        line_slope=line[1],
        curve=_sample_curve(probability, smoothed),
        bins=bins,
    )


def to_logit(probability: FloatArray) -> FloatArray:
    """Return the log-odds of probabilities, 0 and 1 taken a millionth inwards."""
    inner = np.clip(probability, _CLIP, 1 - _CLIP)
    return np.asarray(np.log(inner) - np.log1p(-inner))


def fit_intercept(outcome: FloatArray, probability: FloatArray, people: IntArray) -> Interval:
    """Return the calibration-in-the-large: the intercept with the prediction's logit as offset."""
    constant = np.ones((len(outcome), 1))
    return _fit(outcome, constant, people, offset=to_logit(probability))[0]


def fit_weak_calibration(
    outcome: FloatArray, probability: FloatArray, people: IntArray
) -> tuple[Interval, Interval]:
    """Return intercept and slope of the outcome on the prediction's logit.

    Neither is defined for a constant prediction, nor where the prediction separates the outcomes.
    """
    logit = to_logit(probability)
    if np.ptp(logit) < _CLIP:
        return NOT_DEFINED, NOT_DEFINED
    intercept, slope = _fit(outcome, np.column_stack([np.ones(len(logit)), logit]), people)
    return intercept, slope


def smooth(outcome: FloatArray, probability: FloatArray) -> FloatArray:
    """Return each row's observed share by a local linear fit (lowess), kept within 0 to 1."""
    extent = np.ptp(probability)
    if extent == 0:
        return np.full(len(outcome), outcome.mean())
    # In a fixed order of ties, for the same digits from any order of the rows.
    order = np.lexsort((outcome, probability))
    fitted = np.empty(len(outcome))
    fitted[order] = lowess(
        outcome[order],
        probability[order],
        frac=_SPAN,
        it=0,
        delta=_STEP * extent,
        is_sorted=True,
        return_sorted=False,
    )
    missing = np.isnan(fitted)
    if missing.any():
        # A neighbourhood of one single value has no line: its share is the mean of that value.
        values, group = np.unique(probability, return_inverse=True)
        shares = np.bincount(group, weights=outcome) / np.bincount(group, minlength=len(values))
        fitted[missing] = shares[group[missing]]
    return np.clip(fitted, 0.0, 1.0)


def _fit(
    outcome: FloatArray, design: FloatArray, people: IntArray, offset: FloatArray | None = None
) -> tuple[Interval, ...]:
    """Fit a logistic regression by Newton's method; intervals by the sandwich over persons.

    Of two coefficients at most: statsmodels' GLM takes four times as long and keeps 20 MiB of a
    hundred thousand rows at each call.
    """
    count = int(design.shape[1])
    not_defined: tuple[Interval, ...] = (NOT_DEFINED,) * count
    persons, person = np.unique(people, return_inverse=True)
    if outcome.min() == outcome.max() or len(persons) < 2:
        return not_defined
    fixed = np.zeros(len(outcome)) if offset is None else offset
    coefficients = np.zeros(count)
    for _ in range(_MOST_STEPS):
        expected = expit(fixed + design @ coefficients)
        information = (design.T * (expected * (1 - expected))) @ design
        try:
            step = np.linalg.solve(information, design.T @ (outcome - expected))
        except np.linalg.LinAlgError:
            return not_defined
        # A first step that is too long is cut: from far out Newton's method may not come back.
        coefficients = coefficients + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        if np.abs(step).max() < _TOLERANCE:
            break
    else:
        # Of separated outcomes the coefficients grow without end.
        return not_defined
    residual = outcome - expected
    scores = np.column_stack(
        [np.bincount(person, weights=column * residual) for column in design.T]
    )
    inverse = np.linalg.inv(information)
    # The correction for few clusters and coefficients that Stata and statsmodels make.
    rows = len(outcome)
    correction = len(persons) / (len(persons) - 1) * (rows - 1) / (rows - count)
    errors = np.sqrt(np.diag(inverse @ (scores.T @ scores) @ inverse) * correction)
    intervals = [
        Interval(float(value), float(value - _NORMAL * error), float(value + _NORMAL * error))
        for value, error in zip(coefficients, errors, strict=True)
    ]
    return tuple(intervals)


def _bin(outcome: FloatArray, probability: FloatArray) -> tuple[CalibrationBin, ...]:
    """Return tenths of the rows by prediction; rows of equal prediction stay together."""
    edges = np.unique(np.percentile(probability, np.linspace(0, 100, BINS + 1)[1:-1]))
    number = np.searchsorted(edges, probability, "right")
    bins = []
    for chosen in (number == each for each in np.unique(number)):
        observed, predicted = outcome[chosen], probability[chosen]
        bins.append(
            CalibrationBin(
                rows=len(observed),
                outcomes=int(observed.sum()),
                predicted=float(predicted.mean()),
                observed=float(observed.mean()),
            )
        )
    return tuple(bins)


def _fit_line(bins: tuple[CalibrationBin, ...]) -> tuple[float, float]:
    if len(bins) < 2:
        return float("nan"), float("nan")
    slope, intercept = np.polyfit(
        [each.predicted for each in bins], [each.observed for each in bins], 1
    )
    return float(intercept), float(slope)


def _sample_curve(probability: FloatArray, smoothed: FloatArray) -> SmoothCurve:
    """Return the curve between the 1st and 99th percentile, beyond which single persons decide."""
    low, high = np.percentile(probability, [1, 99])
    if low == high:
        return SmoothCurve((float(low),), (float(smoothed.mean()),))
    at = np.linspace(low, high, CURVE_POINTS)
    predictions, first = np.unique(probability, return_index=True)
    observed = np.interp(at, predictions, smoothed[first])
    return SmoothCurve(tuple(map(float, at)), tuple(map(float, observed)))
