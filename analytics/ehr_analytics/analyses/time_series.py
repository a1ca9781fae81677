"""Interrupted time series: level and trend of counts before and after a date."""

from __future__ import annotations

import numpy as np
from scipy import stats

from ehr_analytics.analyses.estimation import MAX_ITERATIONS, NORMAL_975, Floats
from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.disclosure.cells import Cell
from ehr_fhir.errors import Unprocessable

__all__ = ["fit_interrupted_poisson", "interrupted_time_series"]

# Months on either side that a line with a step needs (Bernal et al., 2017).
_MIN_PERIODS = 4
TERMS = ("level before", "trend", "change of level", "change of trend")


def interrupted_time_series(
    frame: CohortFrame, table: str, period: str, interrupted: str
) -> list[Cell]:
    """Return people by period, and the rate ratios of a segmented Poisson regression.

    `period` is a column of kind index_period, `interrupted` the first period after the change.
    Errors are widened for overdispersion (Bernal, Cummins, Gasparrini; IJE 2017).
    """
    periods = frame.domain(period)
    if interrupted not in periods:
        raise Unprocessable(f"{interrupted} is no period of the cohort.")
    strata = list(frame.strata([period]))
    cells = [frame.count(table, stratum.labels, stratum.mask) for stratum in strata]
    numbers = np.array([float(stratum.mask.sum()) for stratum in strata])
    first_after = periods.index(interrupted)
    ratios, low, high, p_values = fit_interrupted_poisson(numbers, first_after)
    everybody, ones = frame.everybody, np.ones(len(frame.everybody))
    after = np.any([stratum.mask for stratum in strata[first_after:]], axis=0).astype(float)
    for place, term in list(enumerate(TERMS))[1:]:
        for statistic, measure, value, amounts in (
            ("rate-ratio", "rate ratio", ratios[place], after),
            ("confidence-limit", "lower limit", low[place], ones),
            ("confidence-limit", "upper limit", high[place], ones),
            ("p-value", "p", p_values[place], ones),
        ):
            labels = ((period, "all"), ("term", term), ("measure", measure))
            cells.append(frame.cell(table, labels, statistic, value, "ratio", everybody, amounts))
    return cells


def fit_interrupted_poisson(
    counts: Floats, first_after: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return rate ratios, their 95 % limits and p: level, trend per period, changes of both."""
    size = len(counts)
    if min(first_after, size - first_after) < _MIN_PERIODS:
        raise Unprocessable(f"There are fewer than {_MIN_PERIODS} periods on a side of the change.")
    if not counts.sum():
        raise Unprocessable("Nobody is in the series.")
    time = np.arange(size, dtype=float)
    after = (time >= first_after).astype(float)
    rows = np.column_stack([np.ones(size), time, after, after * (time - first_after)])
    coefficients = np.array([np.log(counts.mean()), 0.0, 0.0, 0.0])
    for _ in range(MAX_ITERATIONS):
        expected = np.exp(np.clip(rows @ coefficients, -30, 30))
        information = rows.T @ (rows * expected[:, None])
        step = np.linalg.pinv(information) @ (rows.T @ (counts - expected))
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-10:
            break
    else:
        raise Unprocessable("The series has no finite answer.")
    dispersion = max(1.0, float(((counts - expected) ** 2 / expected).sum()) / (size - 4))
    errors = np.sqrt(np.diag(np.linalg.pinv(information)) * dispersion)
    half = NORMAL_975 * errors
    p_values = 2 * stats.norm.sf(np.abs(coefficients / errors))
    return (
        np.exp(coefficients),
        np.exp(coefficients - half),
        np.exp(coefficients + half),
        np.asarray(p_values),
    )
