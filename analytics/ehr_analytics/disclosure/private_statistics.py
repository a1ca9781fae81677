"""Differentially private statistics by OpenDP: counts, histograms, means, quantiles.

Two tables are neighbours that differ by one person, added or removed. The table of a cohort has one
row per person, so one person changes one row. Each statistic is paid for from the budget before its
noise is drawn. What is public: the bounds, the categories and the candidates, which the caller
gives and which no data may decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ehr_analytics.disclosure.budget import BudgetLedger, Charge
from ehr_fhir.errors import Invalid

__all__ = ["PrivateTable", "add_noise"]


@cache
def _opendp() -> Any:
    """Return OpenDP with the parts that are not proven by it but reviewed."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    return dp


def add_noise(counts: Sequence[int], epsilon: float) -> list[int]:
    """Return counts of disjoint groups of persons, each with geometric noise of scale 1/epsilon.

    The caller has paid epsilon for all of them together: one person is in one group.
    """
    dp = _opendp()
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
    measure = _calibrate(lambda scale: space >> dp.m.then_laplace(scale), epsilon)
    return [int(count) for count in measure([int(count) for count in counts])]


@dataclass(frozen=True)
class PrivateTable:
    """Answers about one data set for one project, each for some epsilon."""

    ledger: BudgetLedger
    dataset: str
    project: str
    login: str

    def count(self, rows: Sequence[object], epsilon: float) -> int:
        """Return the number of rows with geometric noise of scale 1/epsilon."""
        self._spend("count", epsilon)
        dp = _opendp()
        space = dp.vector_domain(dp.atom_domain(T=bool)), dp.symmetric_distance()
        measure = _calibrate(
            lambda scale: space >> dp.t.then_count() >> dp.m.then_laplace(scale), epsilon
        )
        # A count of persons is never negative; cutting it tells nothing more.
        return max(0, int(measure([True] * len(rows))))

    def histogram(
        self, values: Sequence[str], categories: Sequence[str], epsilon: float
    ) -> dict[str, int]:
        """Return the number of rows per category; values of no category are not counted."""
        if len(set(categories)) < len(categories) or not categories:
            raise Invalid("A histogram has its categories, each once.")
        self._spend(f"histogram of {len(categories)} categories", epsilon)
        dp = _opendp()
        space = dp.vector_domain(dp.atom_domain(T=str)), dp.symmetric_distance()
        measure = _calibrate(
            lambda scale: (
                space
                >> dp.t.then_count_by_categories(list(categories), null_category=False)
                >> dp.m.then_laplace(scale)
            ),
            epsilon,
        )
        noisy = measure([str(value) for value in values])
        return {
            category: max(0, int(count)) for category, count in zip(categories, noisy, strict=True)
        }

    def mean(self, values: Sequence[float], bounds: tuple[float, float], epsilon: float) -> float:
        """Return the mean of values cut to public bounds; sum and count cost half each."""
        low, high = _require_bounds(bounds)
        self._spend("mean", epsilon)
        dp = _opendp()
        space = dp.vector_domain(dp.atom_domain(T=float, nan=False)), dp.symmetric_distance()
        middle = (low + high) / 2
        # Around the middle a person changes the sum by half the width.
        total = _calibrate(
            lambda scale: (
                space
                >> dp.t.then_clamp((low - middle, high - middle))
                >> dp.t.then_sum()
                >> dp.m.then_laplace(scale)
            ),
            epsilon / 2,
        )
        counted = _calibrate(
            lambda scale: space >> dp.t.then_count() >> dp.m.then_laplace(scale), epsilon / 2
        )
        numbers = [float(value) for value in values]
        noisy_count = max(1, int(counted(numbers)))
        noisy_sum = float(total([value - middle for value in numbers]))
        return min(max(middle + noisy_sum / noisy_count, low), high)

    def quantile(
        self, values: Sequence[float], alpha: float, candidates: Sequence[float], epsilon: float
    ) -> float:
        """Return the public candidate that is about the alpha quantile, by a noisy maximum."""
        if not 0 <= alpha <= 1 or len(candidates) < 2 or sorted({*candidates}) != [*candidates]:
            raise Invalid(
                "A quantile has an alpha from 0 to 1 and ascending candidates, two at least."
            )
        self._spend(f"quantile {alpha:g}", epsilon)
        dp = _opendp()
        space = dp.vector_domain(dp.atom_domain(T=float, nan=False)), dp.symmetric_distance()
        measure = _calibrate(
            lambda scale: (
                space
                >> dp.m.then_private_quantile(
                    dp.max_divergence(), [float(c) for c in candidates], alpha, scale
                )
            ),
            epsilon,
        )
        return float(measure([float(value) for value in values]))

    def _spend(self, query: str, epsilon: float) -> None:
        charge = Charge(self.dataset, self.project, self.login, query, epsilon)
        self.ledger.spend(charge)


def _calibrate(build: Any, epsilon: float) -> Any:  # Any: OpenDP's measurements have no types
    """Return the measurement whose noise is the least that costs no more than epsilon."""
    dp = _opendp()
    scale = dp.binary_search_param(build, d_in=1, d_out=epsilon)
    measure = build(scale)
    # OpenDP's own proof, asked once more of what is about to run.
    if not measure.check(1, epsilon):
        raise Invalid("The noise does not give the privacy that was asked for.")
    return measure


def _require_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = float(bounds[0]), float(bounds[1])
    if not low < high:
        raise Invalid("The lower bound of a mean is below the upper one.")
    return low, high
