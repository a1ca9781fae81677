"""Two-by-two tables: a ratio leaves as what the four published counts of its table give.

Whoever has the counts can compute it themselves, so it tells nothing more (post-processing). The
exact ratio of four rounded counts would narrow them, and give back one that is hidden.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ehr_analytics.disclosure.cells import Cell
from ehr_privacy.disclosure import Policy

__all__ = [
    "COUNT_NAMES",
    "NORMAL_975",
    "RATIOS",
    "calculate_ratios",
    "find_table",
    "publish_ratios",
]

COUNT_NAMES = ("exposed, with", "exposed, without", "not exposed, with", "not exposed, without")
RATIOS = frozenset({"risk-ratio", "odds-ratio"})
# The standard normal quantile of a two-sided 95 % interval.
NORMAL_975 = 1.959963984540054


def find_table(cell: Cell) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the table of a cell and what it is about, whatever is measured."""
    return cell.table, tuple(label for label in cell.labels if label[0] != "measure")


def calculate_ratios(counts: Sequence[float]) -> dict[str, float]:
    """Return risk and odds ratio with their 95 % limits (Katz; Woolf) by measure.

    `counts` are in the order of `COUNT_NAMES`. With an empty cell there is no ratio.

    >>> calculate_ratios((20, 80, 10, 90))["risk ratio"]
    2.0
    """
    a, b, c, d = counts
    if not (a and b and c and d):
        return {}
    figures = {}
    risk_error = math.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))
    odds_error = math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    for name, ratio, error in (
        ("risk ratio", (a / (a + b)) / (c / (c + d)), risk_error),
        ("odds ratio", a * d / (b * c), odds_error),
    ):
        half = math.exp(NORMAL_975 * error)
        figures[name] = ratio
        figures[f"{name}, lower limit"] = ratio / half
        figures[f"{name}, upper limit"] = ratio * half
    return figures


def publish_ratios(cells: Sequence[Cell], policy: Policy) -> Mapping[int, float | None]:
    """Return by place what the published counts give for each ratio and limit of a table."""
    counts: dict[object, dict[str, int | None]] = {}
    for cell in cells:
        name = _find_measure(cell)
        if cell.statistic == "frequency" and name in COUNT_NAMES:
            counts.setdefault(find_table(cell), {})[name] = policy.control(len(cell.persons))
    figures = {
        table: calculate_ratios(known)
        for table, shown in counts.items()
        if len(known := [n for name in COUNT_NAMES if (n := shown.get(name)) is not None]) == 4
    }
    return {
        place: figures.get(find_table(cell), {}).get(_find_measure(cell))
        for place, cell in enumerate(cells)
        if cell.statistic in RATIOS
        or (cell.statistic == "confidence-limit" and find_table(cell) in counts)
    } | _publish_differences(cells, policy)


def _publish_differences(cells: Sequence[Cell], policy: Policy) -> dict[int, float | None]:
    """Return by place each risk difference, of the rounded counts of both groups.

    Amounts are 1 of those treated with the outcome and -1 of those untreated with it.
    """
    found: dict[int, float | None] = {}
    for place, cell in enumerate(cells):
        amounts = cell.amounts
        if cell.statistic != "risk-difference" or amounts is None:
            continue
        phase = dict(cell.labels).get("phase")
        people = {
            _find_measure(other): policy.control(len(other.persons))
            for other in cells
            if other.table == cell.table
            and other.statistic == "frequency"
            and dict(other.labels).get("phase") == phase
        }
        having = [policy.control(int((amounts == sign).sum())) for sign in (1, -1)]
        treated, untreated = people.get("treated"), people.get("untreated")
        if treated and untreated and having[0] is not None and having[1] is not None:
            found[place] = having[0] / treated - having[1] / untreated
        else:
            found[place] = None
    return found


def _find_measure(cell: Cell) -> str:
    return dict(cell.labels).get("measure", "")
