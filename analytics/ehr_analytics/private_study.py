"""Differentially private answers about a project's cohort, paid from the project's budget.

Categories, bounds and candidates are public: they come from the cohort's declaration or from the
caller, never from the data.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ehr_analytics import project as projects
from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.cohorts import Cohort
from ehr_analytics.cohorts.definition import AsTopCodes
from ehr_analytics.cohorts.duckdb_engine import COHORT_LIMITS
from ehr_analytics.cohorts.project_run import prepare_project_cohort
from ehr_analytics.disclosure.budget import BudgetLedger
from ehr_analytics.disclosure.private_statistics import PrivateTable
from ehr_analytics.live_counts import require_private_steps, reserve_query
from ehr_analytics.register import Register
from ehr_etl.duckdb_session import QueryLimits
from ehr_fhir.errors import Invalid

__all__ = ["LAKE", "PrivateCohort", "open_private_cohort"]

# All projects read one lake: their answers are about the same persons.
LAKE = "lake"


@dataclass(frozen=True)
class PrivateCohort:
    """A cohort of which only noisy numbers are told, each for some epsilon."""

    cohort: Cohort
    frame: CohortFrame
    table: PrivateTable

    def count(self, epsilon: float) -> int:
        """Return about how many people are in the cohort."""
        return self.table.count(range(self.frame.result.table.num_rows), epsilon)

    def histogram(self, column: str, epsilon: float) -> dict[str, int]:
        """Return about how many people have each declared label of a column."""
        if any(
            own.name == column and isinstance(own.form, AsTopCodes) for own in self.cohort.columns
        ):
            raise Invalid(
                f"The labels of {column} are the most frequent ones: the data chose them."
            )
        domain = self.frame.domain(column)
        values = self.frame.result.table.column(column).to_pylist()
        return self.table.histogram([str(value) for value in values], domain, epsilon)

    def mean(self, column: str, bounds: tuple[float, float], epsilon: float) -> float:
        """Return about the mean of a number column, cut to bounds; who has none is left out."""
        return self.table.mean(self._numbers(column), bounds, epsilon)

    def quantile(
        self, column: str, alpha: float, candidates: Sequence[float], epsilon: float
    ) -> float:
        """Return the candidate that is about a quantile of a number column."""
        return self.table.quantile(self._numbers(column), alpha, candidates, epsilon)

    def _numbers(self, column: str) -> list[float]:
        numbers = self.frame.numbers(column)
        return [float(number) for number in numbers[~np.isnan(numbers)]]


def open_private_cohort(
    register: Register,
    ledger: BudgetLedger,
    project_id: str,
    cohort: Cohort,
    who: str,
    *,
    withheld: Collection[str],
    other_names: Collection[str] = (),
    limits: QueryLimits = COHORT_LIMITS,
) -> PrivateCohort:
    """Run a cohort for one of a project's people, to be asked in noisy numbers alone.

    `withheld` are the lake's pseudonyms of the people whom it leaves out. Unprocessable where one
    person would decide whether others are in the cohort: the noise hides one person's part alone.
    """
    project = projects.get_project(register, project_id)
    prepared = prepare_project_cohort(register, project, cohort, who, other_names=other_names)
    require_private_steps(cohort)
    with reserve_query():
        result = prepared.run(limits, withheld=withheld)
    return PrivateCohort(cohort, CohortFrame(result), PrivateTable(ledger, LAKE, project_id, who))
