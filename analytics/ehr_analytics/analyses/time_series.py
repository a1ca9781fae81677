"""Interrupted time series: level and trend of counts before and after a date."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_analytics.analyses.estimation import MAX_ITERATIONS, Floats, RatioModel
from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.disclosure.cells import Cell
from ehr_fhir.errors import Unprocessable

__all__ = [
    "QuasiPoissonModel",
    "build_seasonal_terms",
    "fit_interrupted_poisson",
    "fit_quasi_poisson",
    "interrupted_time_series",
]

# Months on either side that a line with a step needs (Bernal et al., 2017).
_MIN_PERIODS = 4
TERMS = ("level before", "trend", "change of level", "change of trend")


@dataclass(frozen=True)
class QuasiPoissonModel(RatioModel):
    """Rate ratios, and the dispersion of the counts."""

    dispersion: float


def interrupted_time_series(
    frame: CohortFrame, table: str, period: str, interrupted: str, harmonics: int = 0
) -> list[Cell]:
    """Return people by period, and the rate ratios of a segmented Poisson regression.

    `period` is a column of kind index_period, `interrupted` the first period after the change.
    `harmonics` are pairs of sine and cosine of the year, for what comes back every year. Errors are
    widened for overdispersion (Bernal, Cummins, Gasparrini; IJE 2017).
    """
    periods = frame.domain(period)
    if interrupted not in periods:
        raise Unprocessable(f"{interrupted} is no period of the cohort.")
    strata = list(frame.strata([period]))
    cells = [frame.count(table, stratum.labels, stratum.mask) for stratum in strata]
    numbers = np.array([float(stratum.mask.sum()) for stratum in strata])
    first_after = periods.index(interrupted)
    seasons = build_seasonal_terms(periods, harmonics) if harmonics else None
    model = fit_interrupted_poisson(numbers, first_after, seasons)
    everybody, ones = frame.everybody, np.ones(len(frame.everybody))
    after = np.any([stratum.mask for stratum in strata[first_after:]], axis=0).astype(float)
    for place, term in list(enumerate(TERMS))[1:]:
        low, high = model.interval(place)
        name = term if place == 1 else f"{term} from {interrupted}"
        for statistic, measure, value, amounts in (
            ("rate-ratio", "rate ratio", float(np.exp(model.coefficients[place])), after),
            ("confidence-limit", "lower limit", low, ones),
            ("confidence-limit", "upper limit", high, ones),
            ("p-value", "p", model.p_value(place), ones),
        ):
            labels = ((period, "all"), ("term", name), ("measure", measure))
            cells.append(frame.cell(table, labels, statistic, value, "ratio", everybody, amounts))
    return cells


def build_seasonal_terms(periods: tuple[str, ...], harmonics: int) -> Floats:
    """Return sine and cosine of each period's place in its year, a row per period.

    Periods are months (`2024-05`) or quarters (`2024-Q2`).
    """
    if not all("-" in period for period in periods):
        raise Unprocessable("A season needs periods of a month or a quarter.")
    of_year = 4 if "-Q" in periods[0] else 12
    if not 0 < harmonics < of_year / 2:
        raise Unprocessable(f"Of {of_year} periods a year, harmonics are 1 to {of_year // 2 - 1}.")
    places = np.array([int(period.split("-")[1].lstrip("Q")) for period in periods])
    angles = 2 * np.pi * np.outer(places, np.arange(1, harmonics + 1)) / of_year
    return np.column_stack([np.sin(angles), np.cos(angles)])


def fit_interrupted_poisson(
    counts: Floats, first_after: int, seasons: Floats | None = None
) -> QuasiPoissonModel:
    """Fit level and trend per period, and the changes of both, in the order of `TERMS`."""
    size = len(counts)
    if min(first_after, size - first_after) < _MIN_PERIODS:
        raise Unprocessable(f"There are fewer than {_MIN_PERIODS} periods on a side of the change.")
    time = np.arange(size, dtype=float)
    after = (time >= first_after).astype(float)
    rows = np.column_stack([np.ones(size), time, after, after * (time - first_after)])
    return fit_quasi_poisson(counts, rows if seasons is None else np.hstack([rows, seasons]))


def fit_quasi_poisson(
    counts: Floats, rows: Floats, exposure: Floats | None = None
) -> QuasiPoissonModel:
    """Fit a Poisson regression by Newton's method, a row per count; the first column is ones.

    `exposure` is the person-time or population behind each count. The dispersion is Pearson's, at
    least 1.
    """
    size, free = len(counts), len(counts) - rows.shape[1]
    if not counts.sum():
        raise Unprocessable("Nobody is in the series.")
    if free < 1:
        raise Unprocessable("The series has fewer periods than its model has terms.")
    offset = np.zeros(size) if exposure is None else np.log(exposure)
    coefficients = np.zeros(rows.shape[1])
    coefficients[0] = np.log(counts.sum() / np.exp(offset).sum())
    for _ in range(MAX_ITERATIONS):
        expected = np.exp(np.clip(rows @ coefficients + offset, -30, 30))
        information = rows.T @ (rows * expected[:, None])
        step = np.linalg.pinv(information) @ (rows.T @ (counts - expected))
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-10:
            break
    else:
        raise Unprocessable("The series has no finite answer.")
    dispersion = max(1.0, float(((counts - expected) ** 2 / expected).sum()) / free)
    errors = np.sqrt(np.diag(np.linalg.pinv(information)) * dispersion)
    return QuasiPoissonModel(coefficients, errors, dispersion)
