"""Estimators of survival: Kaplan-Meier, the log-rank test, Cox's regression with Efron's ties.

Written for NumPy and held against R's `survival` on its own data set (tests/unit/analytics);
docs/reference/analyses.md compares them with lifelines and scikit-survival.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ehr_analytics.analyses.estimation import MAX_ITERATIONS, NORMAL_975, Bools, Floats, RatioModel
from ehr_fhir.errors import Unprocessable

__all__ = ["SurvivalCurve", "fit_cox", "kaplan_meier_curve", "logrank_test"]

# R's coxph stops there too.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class SurvivalCurve:
    """A Kaplan-Meier curve: at each time of an event, survival with Greenwood's variance."""

    times: Floats
    at_risk: Floats
    events: Floats
    survival: Floats
    variance_of_log: Floats

    def survival_at(self, time: float) -> float:
        """Return the share that survives beyond a time."""
        place = int(np.searchsorted(self.times, time, side="right"))
        return float(self.survival[place - 1]) if place else 1.0

    def interval_at(self, time: float) -> tuple[float, float]:
        """Return the 95 % interval at a time, on the scale of the logarithm as R does."""
        place = int(np.searchsorted(self.times, time, side="right"))
        if not place:
            return 1.0, 1.0
        survival = float(self.survival[place - 1])
        if survival == 0:
            return 0.0, 0.0
        half = NORMAL_975 * float(np.sqrt(self.variance_of_log[place - 1]))
        return survival * float(np.exp(-half)), min(1.0, survival * float(np.exp(half)))

    @property
    def median(self) -> float | None:
        """Return the first time at which half or less survive; None before that."""
        below = np.flatnonzero(self.survival <= 0.5)
        return float(self.times[below[0]]) if below.size else None


def kaplan_meier_curve(times: Floats, happened: Bools) -> SurvivalCurve:
    """Return the curve of times to an event, or to the end of follow-up (Kaplan & Meier 1958)."""
    moments = np.unique(times[happened])
    at_risk = len(times) - np.searchsorted(np.sort(times), moments, side="left").astype(float)
    ended = np.sort(times[happened])
    events = (
        np.searchsorted(ended, moments, side="right") - np.searchsorted(ended, moments, side="left")
    ).astype(float)
    with np.errstate(divide="ignore"):
        variance = np.cumsum(events / (at_risk * (at_risk - events)))
    return SurvivalCurve(moments, at_risk, events, np.cumprod(1 - events / at_risk), variance)


def logrank_test(
    times: Floats, happened: Bools, groups: NDArray[np.int64]
) -> tuple[float, int, float]:
    """Return chi-square, degrees of freedom and p of a difference between groups (Mantel 1966)."""
    names = np.unique(groups)
    observed, expected = np.zeros(len(names)), np.zeros(len(names))
    covariance = np.zeros((len(names), len(names)))
    for moment in np.unique(times[happened]):
        at_risk = np.array([((times >= moment) & (groups == name)).sum() for name in names], float)
        now = happened & (times == moment)
        events = np.array([(now & (groups == name)).sum() for name in names], float)
        total, gone = at_risk.sum(), events.sum()
        observed += events
        share = at_risk / total
        expected += gone * share
        if total > 1:
            factor = gone * (total - gone) / (total - 1)
            covariance += factor * (np.diag(share) - np.outer(share, share))
    difference = (observed - expected)[:-1]
    free = len(names) - 1
    if not free:
        raise Unprocessable("A log-rank test needs two groups.")
    chi_square = float(difference @ np.linalg.pinv(covariance[:-1, :-1]) @ difference)
    return chi_square, free, float(stats.chi2.sf(chi_square, free))


def fit_cox(times: Floats, happened: Bools, covariates: Floats) -> RatioModel:
    """Fit Cox's proportional hazards by Newton's method, ties as Efron (1977) takes them.

    `covariates` has a row per person. Unprocessable where the data do not determine the model.
    """
    order = np.argsort(-times, kind="stable")
    times, happened = times[order], happened[order]
    values = covariates[order] - covariates.mean(axis=0)
    coefficients = np.zeros(values.shape[1])
    likelihood = -np.inf
    for _ in range(MAX_ITERATIONS):
        new_likelihood, gradient, information = _efron(times, happened, values, coefficients)
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            raise Unprocessable("The columns of a Cox model depend on each other.") from None
        if abs(new_likelihood - likelihood) <= _TOLERANCE * abs(new_likelihood):
            errors = np.sqrt(np.diag(np.linalg.inv(information)))
            if np.isfinite(errors).all() and errors.max() < 100:
                return RatioModel(coefficients, errors)
            break
        likelihood = new_likelihood
        coefficients = coefficients + step
        if np.abs(coefficients).max() * np.abs(values).max() > 500:
            break
    raise Unprocessable("The Cox model has no finite answer: a column tells who has the event.")


def _efron(
    times: Floats, happened: Bools, values: Floats, coefficients: Floats
) -> tuple[float, Floats, Floats]:
    """Return partial log likelihood, gradient and information; the latest times come first."""
    size = values.shape[1]
    risks = np.exp(values @ coefficients)
    weighted = values * risks[:, None]
    crossed = weighted[:, :, None] * values[:, None, :]
    # Of each time, the last place that is still at risk.
    starts = np.flatnonzero(np.r_[True, times[1:] != times[:-1]])
    ends = np.r_[starts[1:], len(times)]
    sums = np.cumsum(risks), np.cumsum(weighted, axis=0), np.cumsum(crossed, axis=0)
    likelihood, gradient, information = 0.0, np.zeros(size), np.zeros((size, size))
    for start, end in zip(starts, ends, strict=True):
        tied = start + np.flatnonzero(happened[start:end])
        if not tied.size:
            continue
        total, first, second = (part[end - 1] for part in sums)
        tied_total, tied_first = risks[tied].sum(), weighted[tied].sum(axis=0)
        tied_second = crossed[tied].sum(axis=0)
        likelihood += float((values[tied] @ coefficients).sum())
        gradient += values[tied].sum(axis=0)
        shares = np.arange(tied.size) / tied.size
        bottoms = total - shares * tied_total
        likelihood -= float(np.log(bottoms).sum())
        for share, bottom in zip(shares, bottoms, strict=True):
            mean = (first - share * tied_first) / bottom
            gradient -= mean
            information += (second - share * tied_second) / bottom - np.outer(mean, mean)
    return likelihood, gradient, information
