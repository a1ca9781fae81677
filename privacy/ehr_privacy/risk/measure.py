"""Re-identification risk of a table as it leaves, from its equivalence classes alone.

The three attackers of El Emam and Dankar (JAMIA 2008): the prosecutor knows that a person is in the
table; the journalist knows a population in which the table's people are; the marketer wants as many
as possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["DiversityReport", "RiskReport", "measure_diversity", "measure_risk"]


@dataclass(frozen=True)
class RiskReport:
    """Risks of a table under its quasi-identifiers; a risk is from 0 to 1."""

    rows: int
    classes: int
    # The least size of an equivalence class.
    k: int
    unique_rows: int
    # 1 / size of the smallest class, and the share of rows above the threshold.
    prosecutor: float
    at_risk: float
    # The mean of 1 / size over rows: the share of rows that a marketer is right about.
    marketer: float
    # The same against a population; None without one.
    journalist: float | None = None
    journalist_marketer: float | None = None

    @property
    def uniqueness(self) -> float:
        """Return the share of rows that are alone in their class."""
        return self.unique_rows / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class DiversityReport:
    """How much the classes tell of a sensitive column."""

    # The least number of different values in a class.
    distinct: int
    # The greatest distance between the distribution in a class and in the table.
    closeness: float


def measure_risk(
    table: pa.Table,
    quasi: Sequence[str],
    *,
    population: pa.Table | None = None,
    threshold: float = 0.09,
) -> RiskReport:
    """Measure the risks of a table; `threshold` 0.09 is that of EMA's policy 0070 (k of 11).

    A missing value is a value of its own. A class that the population lacks counts as the table's.

    >>> table = pa.table({"sex": ["f", "f", "m"], "year": [1980, 1980, 1990]})
    >>> report = measure_risk(table, ["sex", "year"])
    >>> report.k, report.unique_rows, report.prosecutor, round(report.marketer, 3)
    (1, 1, 1.0, 0.667)
    """
    if not table.num_rows:
        return RiskReport(0, 0, 0, 0, 0.0, 0.0, 0.0)
    names = list(quasi)
    sizes = table.select(names).group_by(names).aggregate([([], "count_all")])
    counts = sizes.column("count_all")
    rows, classes, least = table.num_rows, sizes.num_rows, int(pc.min(counts).as_py())
    above = counts.filter(pc.greater(pc.divide(1.0, pc.cast(counts, pa.float64())), threshold))
    journalist = marketer = None
    if population is not None:
        journalist, marketer = _compare(sizes, population, names)
    return RiskReport(
        rows=rows,
        classes=classes,
        k=least,
        unique_rows=counts.filter(pc.equal(counts, 1)).length(),
        prosecutor=1 / least,
        at_risk=(pc.sum(above).as_py() or 0) / rows,
        marketer=classes / rows,
        journalist=journalist,
        journalist_marketer=marketer,
    )


def _compare(sizes: pa.Table, population: pa.Table, names: list[str]) -> tuple[float, float]:
    whole = population.select(names).group_by(names).aggregate([([], "count_all")])
    known = {tuple(row[name] for name in names): row["count_all"] for row in whole.to_pylist()}
    risks = []
    for row in sizes.to_pylist():
        of_class = max(known.get(tuple(row[name] for name in names), 0), row["count_all"])
        risks.append((1 / of_class, row["count_all"]))
    rows = sum(count for _, count in risks)
    return max(risk for risk, _ in risks), sum(risk * count for risk, count in risks) / rows


def measure_diversity(table: pa.Table, quasi: Sequence[str], sensitive: str) -> DiversityReport:
    """Measure l-diversity (distinct values) and t-closeness (equal distance) of a column.

    >>> table = pa.table({"sex": ["f", "f", "m", "m"], "code": ["a", "b", "a", "a"]})
    >>> measure_diversity(table, ["sex"], "code")
    DiversityReport(distinct=1, closeness=0.25)
    """
    names = list(quasi)
    rows = table.select([*names, sensitive]).group_by([*names, sensitive])
    cells = rows.aggregate([([], "count_all")]).to_pylist()
    overall: dict[Any, int] = {}
    classes: dict[tuple[Any, ...], dict[Any, int]] = {}
    for cell in cells:
        value, count = cell[sensitive], cell["count_all"]
        overall[value] = overall.get(value, 0) + count
        classes.setdefault(tuple(cell[name] for name in names), {})[value] = count
    total = sum(overall.values())
    shares = {value: count / total for value, count in overall.items()}
    closeness = 0.0
    for counts in classes.values():
        size = sum(counts.values())
        # Half the sum of all differences; those of values that the class lacks are their shares.
        there = sum(abs(count / size - shares[value]) for value, count in counts.items())
        absent = 1 - sum(shares[value] for value in counts)
        closeness = max(closeness, (there + absent) / 2)
    return DiversityReport(min(map(len, classes.values())), closeness)
